#!/bin/sh
# HTCondor starts this in the container of run [= run_id =]. Written by hpcdeploy [= version =].
# A worker that does not know +SingularityImage would run the program on the worker itself.
if [ -z "${APPTAINER_CONTAINER:-${SINGULARITY_CONTAINER:-}}" ]; then
  echo "this worker did not start the container that +SingularityImage names; its site may need another htcondor-container" >&2
  exit 1
fi
exec /bin/sh ./program.sh "$@"
