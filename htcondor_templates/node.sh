#!/bin/bash
# DAGMan calls this for condor_submit (dagman.config), and again where it has failed. Written by hpcdeploy [= version =].
# The schedd notes a job in the job's own log when it takes it: one that is there is not submitted a second time.
[% include "login_templates/state.sh" %]
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 1" %]
[% include "login_templates/setup.sh" %]
there=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$(dirname -- "$0")/events.log" 2>/dev/null | head -n 1)
if [ -n "$there" ]; then
  echo "[= tasks =] job(s) submitted to cluster $there."
else
  exec condor_submit "$@"
fi
