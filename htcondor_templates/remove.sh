#!/bin/bash
# DAGMan calls this instead of condor_rm (dagman.config). Written by hpcdeploy [= version =].
# If one task fails DAGMan removes the others, "condor_rm CLUSTER -const ...": ignore that, so that they continue as in every other run.
# When DAGMan itself is removed it calls "condor_rm -const ...": do that.
case ${1-} in
  [0-9]*) ;;
  *) exec condor_rm "$@" ;;
esac
