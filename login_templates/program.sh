#!/bin/sh
[% if run_id %]
# Run [= run_id =], written by hpcdeploy [= version =]. This runs inside the container, once for each task; its [= 'last ' if scheduler == "slurm" or container == "apptainer" =]arguments are the
# task's number and the job's id[= ', then its line of the file "parameters"' if task_lines =].
# The command and its environment stand here, and pass through nobody else's quoting.
[% if scheduler == "slurm" or container == "apptainer" %]
# The first argument is the file by which the wrapper outside sees that this began (login_templates/unbegun.sh).
[ -z "$1" ] || true >"$1"
shift
[% elif notes_begin %]
# HTCondor sends this back into the run's folder (job.sub): by it one sees that the program began.
true >.hpcdeploy-begun
[% endif %]
export HPCDEPLOY_RUN=[= run_id | word =]
export HPCDEPLOY_TASK="[= '$3' if task_lines else '$1' =]"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=[= sha256 =]
[% if arrives_as %]
if [ "$(sha256sum <'./[= arrives_as =]')" != '[= sha256 =]  -' ]; then
  echo 'the image that HTCondor brought, [= arrives_as =], is not the one that its name says: its sha256 is another' >&2
  exit 1
fi
[% endif %]
[% if task_lines %]
# A value is what printf makes of it; the dot keeps line breaks at its end, which $( ) would drop.
shift 3
[% endif %]
[% for name in parameters %]
value=$(printf '%b.' "${1#*=}")
export HPCDEPLOY_PARAM_[= name =]="${value%.}"
shift
[% endfor %]
[% if arriving %]
[% include "login_templates/arrive.sh" %]
[% endif %]
[% if code_place %]
export HPCDEPLOY_CODE=[= code_place =]
[% endif %]
[% else %]
# Written by hpcdeploy [= version =] for a command on this machine. This runs inside the container; the command and its
# environment stand here, and pass through nobody else's quoting.
[% endif %]
[% for name, value in environment %]
export [= name =]=[= value | word =]
[% endfor %]
# No command means the image's own run script.
set -- [= (command or ('/.singularity.d/runscript',)) | words =]
[% if run_id and torchrun %]
# torchrun starts the processes of its node; srun starts one torchrun on each. They meet at process 0: so a node's rank is its process's,
# and not SLURM_NODEID, whose order a topology may make another one. The older spelling, which new releases know too.
set -- torchrun --nnodes="$SLURM_JOB_NUM_NODES" --node_rank="$SLURM_PROCID" --nproc_per_node=[= torchrun =] \
  --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT" --no_python "$@"
[% endif %]
[% if run_id and warning %]
# HTCondor warns nobody of its time limit. This process becomes the program, or passes on what it is told.
(sleep [= warning[1] =] && kill -[= warning[0] =] $$) </dev/null >/dev/null 2>&1 &
[% endif %]
[% if run_id and scheduler == "htcondor" %]
[% if gathering %]
[% include "login_templates/gather.sh" %]
[% else %]
[% include "login_templates/beside.sh" %]
[% endif %]
[% if sends_all %]
[% include "login_templates/keep_back.sh" %]
[% endif %]
# HTCondor reads through pipes what is written here, and what it has not read when the job ends is lost, up to 64 KiB (seen with 23.9
# on a busy machine): so the job ends a second later.
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
[% else %]
exec "$@"
[% endif %]
