#!/bin/bash
# Report whether run [= run_id =], which waits for other runs, may start. Written by hpcdeploy [= version =].
# DAGMan calls this script before it submits job.sub (job.dag). "wait.sh now" only reports. The event logs of the other runs are read.
# Exit status: 0 the run may start; 75 it must wait; 1 it can never start (the reason is printed).
[% include "login/state.sh" %]
cd -- "$(dirname -- "$0")" || exit 75
[% if setup_values %]
[= setup_values =]
[% endif %]
[% include setup_file %]
after=([% for other in after %][= other.kind =] [= other.run_id | word =] [= other.tasks =][= " " if not loop.last =][% endfor %])
[% include "login/htcondor/wait.sh" %]
