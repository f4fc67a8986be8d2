#!/bin/bash
# Receives a stretch of a file that travels in several at once, over a long way; its bytes follow this script on standard input.
# Written by hpcdeploy 0.1.0. It answers with the bytes that it has already; the rest is to follow. receive.sh puts the
# stretches together.
#
# Exit status: 0 it is there; 10 this machine is not as it should be; 15 not all of it came; without an answer and a word, another call
# is at it or has brought the whole.
main() {
set -euo pipefail
umask 077
# A cut connection is the end of the input, and no more than that.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }

what='the code of '"'"'my project'"'"''
sha256=1212121212121212121212121212121212121212121212121212121212121212
size=1000000
file=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/code/1212121212121212121212121212121212121212121212121212121212121212.tar'
case $file in
  /*) ;;
  *) die 10 "$what is to become $file, which is no absolute path; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256.1000000.parcel
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$folder" || die 10 "cannot make $folder; set root in the cluster's settings to a folder that you may write to"
exec {lock}>"$folder/.$sha256.1000000.lock"
arrived() { stat -c %s -- "$part" 2>/dev/null || echo 0; }

# A client that vanished, as a laptop does that is closed, leaves its connection open and says nothing: who waits for the
# lock would wait for ever.
give_up_on_silence() {
  local before
  trap 'kill "$!"; exit' TERM
  while before=$(arrived); sleep 120 & wait "$!"; do
    [ "$(arrived)" != "$before" ] || { kill "$1" 2>/dev/null; return; }
  done
}

flock --nonblock "$lock" || exit 15
[ "$(stat -Lc %s -- "$file" 2>/dev/null)" != 1200000 ] || exit 15
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
