#!/bin/sh
# Run [= run_id =], written by hpcdeploy [= version =]. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id[= ', then its line of the file "parameters"' if task_lines =].
# The command and its variables are quoted here, and no other shell interprets them.
# The first argument is a file. It is emptied to record that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=[= run_id | word =]
export HPCDEPLOY_TASK="[= '$3' if task_lines else '$1' =]"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=[= sha256 =]
[% if task_lines %]
# printf decodes a value. A dot is appended and removed again, because $( ) would remove line breaks at the end of the value.
shift 3
[% endif %]
[% for name in parameters %]
value=$(printf '%b.' "${1#*=}")
export HPCDEPLOY_PARAM_[= name =]="${value%.}"
shift
[% endfor %]
[% if code_place %]
export HPCDEPLOY_CODE=[= code_place =]
[% endif %]
[% for name, value in environment %]
export [= name =]=[= value | word =]
[% endfor %]
# Without a command, run the image's own run script.
set -- [= (command or ('/.singularity.d/runscript',)) | words =]
[% if torchrun %]
# srun starts one torchrun on each node, which starts the processes of its node. The rank of a node is SLURM_PROCID, not SLURM_NODEID: rank 0
# must be on the node of MASTER_ADDR, and a topology may change the order of SLURM_NODEID. The options have their older spelling, which new
# releases of torchrun accept too.
set -- torchrun --nnodes="$SLURM_JOB_NUM_NODES" --node_rank="$SLURM_PROCID" --nproc_per_node=[= torchrun =] \
  --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT" --no_python "$@"
[% endif %]
exec "$@"
