#!/bin/bash
# Lists the files that a run wrote, its output and its logs. Written by hpcdeploy [= version =].
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/setup.sh" %]
set -u
shopt -s nullglob
export LC_ALL=C
root=[= root =]
run=$root/runs/[= run_id | word =]
work=[= workdir or '"$run/output"' =]
patterns=([= patterns | words =])
if [ ! -d "$run" ]; then
  echo "error: there is no folder $run" >&2
  return 1
fi

# Of each file in the folder $1 that the names on standard input lead to: its kind (!: it may not be read), size, time, mode and
# name, and where a link leads.
describe() {
  printf 'HPCDEPLOY [= fence =] begin %s\n' "$2"
  (cd -- "$1" && xargs -0 -r bash -c 'exec find "$@" ! -type d \( -type f ! -readable -printf ! -o -printf %y \) -printf " %s %T@ %m %p\0%l\0"' find)
  printf '\nHPCDEPLOY [= fence =] end %s %s\n' "$2" "$?"
}

# Patterns become names here, in the working folder, by the shell's own rules.
matching() {
  local pattern path IFS=
  cd -- "$work" || return
  for pattern in "${patterns[@]}"; do
    # shellcheck disable=SC2086
    for path in $pattern; do printf '%s\0' "$path"; done
  done
}

json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

if [ -d "$work" ]; then matching | describe "$work" output; else describe "$run" output </dev/null; fi
[% if with_logs %]
printf '.\0' | describe "$run/logs" logs
[% endif %]
printf '\nHPCDEPLOY {"output": %s, "logs": %s}\n' "$(json "$work")" "$(json "$run/logs")"
}
main </dev/null
