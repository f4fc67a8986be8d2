#!/bin/bash
# DAGMan calls this for condor_rm (dagman.config). Written by hpcdeploy [= version =].
# Where one task fails DAGMan removes the others, "condor_rm CLUSTER -const ...": they go on, as in every other run. What it
# removes because it is removed itself, "condor_rm -const ...", goes.
case ${1-} in
  [0-9]*) ;;
  *) exec condor_rm "$@" ;;
esac
