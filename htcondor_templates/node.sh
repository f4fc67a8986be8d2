#!/bin/bash
# DAGMan calls this for condor_submit (dagman.config), and again where it has failed. Written by hpcdeploy [= version =].
# The schedd notes a job in the job's own log when it takes it: one that is there is not submitted a second time.
[% for line in setup %]
[= line =]
[% endfor %]
there=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$(dirname -- "$0")/events.log" 2>/dev/null | head -n 1)
if [ -n "$there" ]; then
  echo "[= tasks =] job(s) submitted to cluster $there."
else
  exec condor_submit "$@"
fi
