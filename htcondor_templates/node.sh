#!/bin/bash
# DAGMan calls this instead of condor_submit (dagman.config), and again if it failed. Written by hpcdeploy [= version =].
# If the job's event log contains a submission, do not submit again, because the schedd writes this event when it accepts the job.
[% include "login/state.sh" %]
[% if setup_values %]
[= setup_values =]
[% endif %]
[% include setup_file %]
submitted=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$(dirname -- "$0")/events.log" 2>/dev/null | head -n 1)
if [ -n "$submitted" ]; then
  echo "[= tasks =] job(s) submitted to cluster $submitted."
else
  exec condor_submit "$@"
fi
