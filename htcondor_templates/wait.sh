#!/bin/bash
# Report whether run [= run_id =] may start, which waits for other runs. Written by hpcdeploy [= version =].
# DAGMan calls it before it submits job.sub (job.dag); "wait.sh now" only reports. It reads the event logs of the other runs.
# Exit status: 0 it may start; 75 not yet; 1 it never may, with the reason.
[% include "login/state.sh" %]
cd -- "$(dirname -- "$0")" || exit 75
[% if setup_values %]
[= setup_values =]
[% endif %]
[% include setup_file %]
after=([% for other in after %][= other.kind =] [= other.run_id | word =] [= other.tasks =][= " " if not loop.last =][% endfor %])
[% include "login/htcondor/wait.sh" %]
