#!/bin/bash
# Receives a stretch of a file that travels in several at once, over a long way; its bytes follow this script on standard input.
# Written by hpcdeploy [= version =]. It answers with the bytes that it has already; the rest is to follow. receive.sh puts the
# stretches together.
#
# Exit status: 0 it is there; 10 this machine is not as it should be; 15 not all of it came; without an answer and a word, another call
# is at it or has brought the whole.
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/arriving.sh" %]

[% if waits %]
flock --nonblock "$lock" || { say "$what is on its way already; waiting for it"; flock "$lock"; }
[% else %]
flock --nonblock "$lock" || exit 15
[% endif %]
[ "$(stat -Lc %s -- "$file" 2>/dev/null)" != [= whole =] ] || exit 15
answer "$(arrived)"
exec {input}<&0 </dev/null
cat >>"$part" <&"$input" {input}<&- {lock}>&- &
writer=$!
exec {input}<&-
give_up_on_silence "$writer" >/dev/null 2>&1 {lock}>&- &
watch=$!
wait "$writer" || true
kill "$watch" 2>/dev/null || true
[ "$(arrived)" -ge "$size" ] || die 15 "$(arrived) of $size bytes of a stretch of $what have come"
}
# Read to its end before the first command runs. What follows is no script, and never becomes one.
main; exec </dev/null
