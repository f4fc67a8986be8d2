#!/bin/bash
# Prints what a task has written since we last looked. Written by hpcdeploy [= version =].
main() {
set -u
logs=[= root =]/runs/[= run_id | word =]/logs
section() {
  local name=$1 file=$2 from=$3
  printf 'HPCDEPLOY [= fence =] begin %s\n' "$name"
  [ ! -e "$file" ] || tail -c "+$from" -- "$file"
  printf '\nHPCDEPLOY [= fence =] end %s 0\n' "$name"
}
section out "$logs/[= task =].out" [= out_from =]
section err "$logs/[= task =].err" [= err_from =]
}
main </dev/null
