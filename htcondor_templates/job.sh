#!/bin/sh
# Run [= run_id =], written by hpcdeploy [= version =]. HTCondor starts this inside the container, with --nv where it gave
# GPUs; the task's number is its one argument.
export HPCDEPLOY_RUN=[= run_id | word =]
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_IMAGE_SHA256=[= sha256 =]
[% for name, value in environment %]
export [= name =]=[= value | word =]
[% endfor %]
# The command, word by word; none means the image's own run script.
set -- [= (command or ('/.singularity.d/runscript',)) | words =]
exec "$@"
