#!/bin/bash
# Prints what tasks have written since we last looked. Written by hpcdeploy [= version =].
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/setup.sh" %]
set -u
run=[= root =]/runs/[= run_id | word =]
# TASK, and the byte from which on its output and its error stream are wanted
wanted='[= wanted | join("\n") =]'
section() {
  local name=$1
  shift
  printf 'HPCDEPLOY [= fence =] begin %s\n' "$name"
  "$@"
  printf '\nHPCDEPLOY [= fence =] end %s 0\n' "$name"
}

# One look at the sizes of all: a file that did not grow is not opened.
names=()
while read -r task _; do names+=("$task.out" "$task.err"); done <<<"$wanted"
declare -A size=()
while read -r bytes name; do size[$name]=$bytes; done < <(cd "$run/logs" && stat -L -c '%s %n' -- "${names[@]}" 2>/dev/null)

piece() { tail -c "+$2" -- "$1" | head -c [= limit =]; }
ended() {
  local task
  while read -r task _; do [ ! -e "$run/tasks/$task.end" ] || printf '%s\n' "$task"; done <<<"$wanted"
}
# Before the last look at what they wrote: who has noted its end writes no more.
section ended ended
while read -r task out err; do
  [ "${size[$task.out]:-0}" -lt "$out" ] || section "out.$task" piece "$run/logs/$task.out" "$out"
  [ "${size[$task.err]:-0}" -lt "$err" ] || section "err.$task" piece "$run/logs/$task.err" "$err"
done <<<"$wanted"
}
main </dev/null
