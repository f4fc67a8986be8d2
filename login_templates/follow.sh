#!/bin/bash
# Tells where runs are: what the scheduler says, and what the runs' own folders say. Written by hpcdeploy [= version =].
# It changes nothing, and asks the scheduler once, whatever the number of runs.
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/variables.sh" %]
[% include "login_templates/setup.sh" %]
set -u
# Prints what a command answers between two marked lines; the second tells its exit status.
section() {
  local name=$1 code=0
  shift
  printf 'HPCDEPLOY [= fence =] begin %s\n' "$name"
  "$@" || code=$?
  printf '\nHPCDEPLOY [= fence =] end %s %s\n' "$name" "$code"
}
runs=[= root =]/runs

[% include scheduler ~ "_templates/follow.sh" %]
}
main </dev/null
