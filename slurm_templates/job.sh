#!/bin/bash
[= directives =]

# Run [= run_id =], written by hpcdeploy [= version =]. sbatch --chdir starts it in the run's folder.
[% include "login/state.sh" %]
set -u
run=$PWD
[% if is_array %]
# A run that is too large for one array is split into chunks: $1 is a dot and the number of the chunk's first task; empty in the first chunk.
chunk=${1-}
task=$((${chunk#.} + SLURM_ARRAY_TASK_ID))
[% else %]
chunk=""
task=${SLURM_ARRAY_TASK_ID:-0}
[% endif %]
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

[% if is_array %]
# Slurm names the logs of a later chunk by task numbers within the chunk; link them to the name with the task number in the run.
if [ -n "$chunk" ]; then
  for stream in out err; do
    ln "$run/parts/${chunk#.}-$SLURM_ARRAY_TASK_ID.$stream" "$run/logs/$task.$stream" 2>/dev/null
  done
  # Where that fails, redirect the output: some file systems have no hard links, or none to another folder (BeeGFS).
  [ "$run/logs/$task.out" -ef "$run/parts/${chunk#.}-$SLURM_ARRAY_TASK_ID.out" ] ||
    exec >>"$run/logs/$task.out" 2>>"$run/logs/$task.err"
fi

[% endif %]
# Write the text $2 to the file $1 in the folder tasks, atomically.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# If the run was cancelled before its job id was known, this job may have been submitted afterwards: end it.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run [= run_id =] was cancelled; nothing to do" >&2
  # Slurm then reports it as cancelled too.
  scancel "$job" && sleep 60
  exit 1
fi

# Record this job as the run's job with the link "id", which only one process can make. A second job of the run ends here.
ln -sT "$job" "$run/id$chunk" 2>/dev/null
owner=$(readlink "$run/id$chunk")
if [ -z "$owner" ]; then
  echo "job $job: cannot make a link in $run on $(hostname) (a full disk, a quota, a missing folder?)" >&2
  exit 1
fi
if [ "$owner" != "$job" ]; then
  echo "job $job: run [= run_id =] belongs to job $owner; nothing to do" >&2
  exit 0
fi

# After a requeue there may be a record of the end of the earlier attempt, which is not valid any more.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # Record the end, unless another attempt has started: if this node was unreachable for a time, Slurm requeued the job on another node.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

[% if setup_values %]
[= setup_values =]
[% endif %]
[% include setup_file %]
set -u
[% include "login/job/clean.sh" %]
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# Without this, srun would inherit --export=NONE from sbatch, and start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

[% if task_lines %]
# Read the line of this task: its number and its parameters, encoded in printable characters.
IFS=' ' read -r -a line < <(sed -n "$((task + 1)){p;q}" "$run/parameters") || finish 1

[% endif %]
[% if not launched %]
[% include "slurm_templates/container.sh" %]

[% endif %]
# Slurm sends signals to this shell. Forward them, and do not exit, so that the end of the program is recorded.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
[% if launched %]
# MASTER_ADDR and MASTER_PORT: an address for the processes to connect to, on the node of process 0. The port is the first one, from a number
# computed from the job id upwards, on which nothing listens.
free_port() {
  local port=$((10000 + SLURM_JOB_ID % 20000))
  while (exec 3<>"/dev/tcp/localhost/$port") 2>/dev/null; do port=$((10000 + (port - 9999) % 20000)); done
  echo "$port"
}
MASTER_ADDR=${SLURMD_NODENAME:-$(hostname)}
MASTER_PORT=$(free_port)
export MASTER_ADDR MASTER_PORT
[% if nodes > 1 %]
# Find the node of process 0 with a step that has the same options, because only Slurm knows it. With a tree or block topology (seen with Slurm
# 26.05), or with the distribution "arbitrary", it may be another node than this one.
# shellcheck disable=SC2016  # each process expands it
leader=$(srun [= srun =] --mpi=none bash -c "$(declare -f free_port)"'
  [ "$SLURM_PROCID" != 0 ] || echo "HPCDEPLOY_LEADER $SLURMD_NODENAME $(free_port)"' </dev/null | sed -n 's/.*HPCDEPLOY_LEADER //p')
if [ -n "$leader" ]; then
  read -r MASTER_ADDR MASTER_PORT <<<"$leader"
else
  echo "srun did not report the node of process 0 (its message is above): MASTER_ADDR is $MASTER_ADDR, the first node" >&2
fi
[% endif %]
[% if warning %]
warning=[= warning =]
[% include "login/job/warn.sh" %]
[% endif %]
[% if mpi %]
# The folder on each node for the shared memory of PMIx: PMIxCliTmpDirBase (mpi.conf(5)), or else TmpFS (slurm.conf(5)).
HPCDEPLOY_PMIX=$(scontrol show config | sed -nE 's/^(TmpFS|PMIxCliTmpDirBase) *= *(\/.*)/\2/p' | tail -n 1)
export HPCDEPLOY_PMIX
[% endif %]
srun [= srun =] bash "$run/rank.sh" "$task" "$job"[= ' "${line[@]}"' if task_lines =] &
[% else %]
[% if warning %]
trap 'signalled=yes; kill -[= warning =] "$container" 2>/dev/null' [= warning =]
[% endif %]
contain "$task" "$job"[= ' "${line[@]}"' if task_lines =] &
[% endif %]
[% include "login/job/wait.sh" %]
[% if not launched %]
[% include "login/job/started.sh" %]
[% else %]
# The first process that failed has recorded its exit code.
first=$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
if [ -L "$first" ]; then read -r code why <<<"$(readlink "$first")"; fi
rm -f "$first"[= ' "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"' if warning =]
[% endif %]
[% if retries %]

retry_codes="[= retries.exit_codes | join(" ") =]"
retry_max=[= retries.max =]
[% include "login/job/retry.sh" %]
[% endif %]
finish "$code"
