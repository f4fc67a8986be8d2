#!/bin/sh
# HTCondor starts this in the container of run [= run_id =]. Written by hpcdeploy [= version =].
# Check that this is a container: a worker that does not support +SingularityImage would run the program outside of a container.
if [ -z "${APPTAINER_CONTAINER:-${SINGULARITY_CONTAINER:-}}" ]; then
  echo "this worker did not start the container that +SingularityImage names; its site may need another htcondor-container" >&2
  exit 1
fi
exec /bin/sh ./program.sh "$@"
