#!/bin/bash
[= directives =]

# Run [= run_id =], written by hpcdeploy [= version =]. sbatch --chdir put us into the run's folder.
[% include "login_templates/state.sh" %]
set -u
run=$PWD
[% if in_parts %]
# A run that is too large for one array has parts: $1 is a dot and the number of this one's first task, or nothing.
part=${1-}
task=$((${part#.} + SLURM_ARRAY_TASK_ID))
[% else %]
task=${SLURM_ARRAY_TASK_ID:-0}
[% endif %]
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

[% if in_parts %]
# The logs of a later part bear its own numbers: they are given the task's.
if [ -n "$part" ]; then
  for stream in out err; do
    ln "$run/parts/${part#.}-$SLURM_ARRAY_TASK_ID.$stream" "$run/logs/$task.$stream" 2>/dev/null
  done
  # Some file systems know no second names (BeeGFS: none in another folder).
  [ "$run/logs/$task.out" -ef "$run/parts/${part#.}-$SLURM_ARRAY_TASK_ID.out" ] ||
    exec >>"$run/logs/$task.out" 2>>"$run/logs/$task.err"
fi

[% endif %]
# Files appear whole or not at all.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# A run that was cancelled while nobody was sure of it may still get a job, late.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run [= run_id =] was cancelled; nothing to do" >&2
  # So that Slurm says it too.
  scancel "$job" && sleep 60
  exit 1
fi

# One run, one job: only one can make the link that says which. Should a second job of this run ever start, it goes.
ln -sT "$job" "$run/id[= '$part' if in_parts =]" 2>/dev/null
owner=$(readlink "$run/id[= '$part' if in_parts =]")
if [ -z "$owner" ]; then
  echo "job $job: cannot make a link in $run on $(hostname) (a full disk, a quota, a folder that is not there?)" >&2
  exit 1
fi
if [ "$owner" != "$job" ]; then
  echo "job $job: run [= run_id =] belongs to job $owner; nothing to do" >&2
  exit 0
fi

# After a requeue this is the same run once more: what was noted of its end is true no longer.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # A node that was given up for lost may come back after the job was started again elsewhere: no end of that one is ours to note.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

[% set setup_must_succeed = false %]
[% set setup_exit = "finish 1" %]
[% include "login_templates/setup.sh" %]
set -u
# Nothing of the login shell's own Python may shine through into the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then takes itself
# for a process of a step and aborts. srun sets them anew.
unset SLURM_STEP_ID SLURM_STEPID
# srun inherits --export=NONE from sbatch and would start the container with no environment at all (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

[% if task_lines %]
# The task's own line: its number and its parameters, in plain signs only.
IFS=' ' read -r -a line < <(sed -n "$((task + 1)){p;q}" "$run/parameters") || finish 1

[% endif %]
[% if not launched %]
[% include "slurm_templates/container.sh" %]

[% endif %]
# Slurm's signals reach this shell: pass them on, and stay to note how the program ended.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
[% if launched %]
# The processes can meet on the node with SLURM_PROCID 0, at the first port from the job's own upwards at which nothing listens there.
free_port() {
  local port=$((10000 + SLURM_JOB_ID % 20000))
  while (exec 3<>"/dev/tcp/localhost/$port") 2>/dev/null; do port=$((10000 + (port - 9999) % 20000)); done
  echo "$port"
}
MASTER_ADDR=${SLURMD_NODENAME:-$(hostname)}
MASTER_PORT=$(free_port)
export MASTER_ADDR MASTER_PORT
[% if nodes > 1 %]
# That need not be this node: with a tree or block topology (seen with Slurm 26.05), or the distribution "arbitrary", process 0 is on
# another one. Only Slurm knows: a step with the same options tells.
# shellcheck disable=SC2016  # each process expands it
leader=$(srun [= srun =] --mpi=none bash -c "$(declare -f free_port)"'
  [ "$SLURM_PROCID" != 0 ] || echo "HPCDEPLOY_LEADER $SLURMD_NODENAME $(free_port)"' </dev/null | sed -n 's/.*HPCDEPLOY_LEADER //p')
if [ -n "$leader" ]; then
  read -r MASTER_ADDR MASTER_PORT <<<"$leader"
else
  echo "srun did not tell where process 0 is (its message is above): MASTER_ADDR is $MASTER_ADDR, the first node" >&2
fi
[% endif %]
[% if warning %]
# srun would pass a signal on to every process of the step: also to the one that mounts the image, which it ends ("Bus error",
# seen with squashfuse), and to the program twice. So a step of its own tells each node's processes.
# shellcheck disable=SC2317,SC2329  # the trap calls it
warn() {
  : >"$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
  srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 --mem=0 \
    bash -c '
      for note in "$1/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME".*; do [ ! -e "$note" ] || kill -[= warning =] "$(cat "$note")"; done
    ' warn "$run/tasks"
}
trap 'signalled=yes; warn' [= warning =]
[% endif %]
[% if mpi %]
# Where on each node the PMIx of this site has what its programs share (mpi.conf(5); where that does not say, slurm.conf(5)).
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
[% include "slurm_templates/waiting.sh" %]
[% if not launched %]
[% include "login_templates/begun.sh" %]
[% else %]
# The first process that failed has noted how.
first=$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
if [ -L "$first" ]; then read -r code why <<<"$(readlink "$first")"; fi
rm -f "$first"[= ' "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"' if warning =]
[% endif %]
[% if retries %]

# The job starts itself again: on these exit codes only, and not more often than said, whoever else may start it again.
retry() {
  local used=0 which=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  case $1 in [= retries.exit_codes | join(" | ") or "[1-9]*" =]) ;; *) return ;; esac
  [ ! -s "$run/tasks/$task.retries" ] || read -r used <"$run/tasks/$task.retries"
  if [ "$used" -ge [= retries.max =] ]; then
    echo "exit code $1, and no retry is left of [= retries.max =]" >&2
    return
  fi
  record "$task.retries" "$((used + 1))" || return
  echo "exit code $1: starting again, retry $((used + 1)) of [= retries.max =]" >&2
  # By its place in the array: the number of the last task is the whole array's too, and would start all tasks again.
  if scontrol requeue "${which:-$SLURM_JOB_ID}"; then exit "$1"; fi
  echo "Slurm did not start the job again; its message is above" >&2
}
retry "$code"
[% endif %]
finish "$code"
