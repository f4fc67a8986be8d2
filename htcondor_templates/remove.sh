#!/bin/bash
# DAGMan calls this instead of condor_rm (dagman.config). Written by hpcdeploy [= version =].
# If a task fails, DAGMan calls "condor_rm CLUSTER -const ..." to remove the other tasks. This is ignored, so that they continue as in a run
# without DAGMan. If DAGMan itself is removed, it calls "condor_rm -const ...", which is executed.
case ${1-} in
  [0-9]*) ;;
  *) exec condor_rm "$@" ;;
esac
