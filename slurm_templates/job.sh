#!/bin/bash
[= directives =]

# Run [= run_id =], written by hpcdeploy [= version =]. sbatch --chdir put us into the run's folder.
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
image=${run%/runs/*}/images/[= sha256 =].sif

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

record "$task.start" "$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
finish() {
  record "$task.end" "$(date +%s) $1"
  exit "$1"
}

[% for line in setup %]
[= line =]
[% endfor %]
# Nothing of the login shell's own Python may shine through into the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD
# srun inherits --export=NONE from sbatch and would start the container with no environment at all (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

# Apptainer's temporary files and cache: on the node's own disk, outside $HOME, gone with the job.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
export [= prefix =]_TMPDIR="$scratch" [= prefix =]_CACHEDIR="$scratch/cache"

[% if in_job %]
[% include "slurm_templates/pull.sh" %]

[% endif %]
[% if task_lines %]
# The task's own line: its number and its parameters, in plain signs only.
IFS=' ' read -r -a line < <(sed -n "$((task + 1)){p;q}" "$run/parameters") || finish 1

[% endif %]
workdir=[= workdir or ('"$run/output' ~ ('/$task' if array else '') ~ '"') =]
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --mount, unlike --bind, can name every path: its fields are quoted as in CSV (apptainer exec --help).
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
[% if workdir %]
mounts+=(--mount "type=bind,$(field source "$PWD"),$(field destination "$PWD")")
[% endif %]
[% for bind in binds %]
mounts+=(--mount "type=bind,$(field source [= bind.source | path =]),$(field destination [= bind.destination | path =])[= ',ro' if bind.read_only =]")
[% endfor %]
[% if mounted %]
[% include "login_templates/places.sh" %]
[% endif %]

[% if nodes > 1 %]
srun --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
[% endif %]
[= apptainer | word =] exec --no-eval[= ' --nv' if gpus =] --pwd "$PWD" "${mounts[@]}" "$image" \
  /bin/sh "$run/program.sh" "$task" "$job"[= ' "${line[@]}"' if task_lines =] &
container=$!
# Slurm's warnings reach this shell: pass them on, and stay to note how the program ended.
trap 'kill -TERM "$container" 2>/dev/null' TERM
trap 'kill -INT "$container" 2>/dev/null' INT
code=0
wait "$container" || code=$?
while kill -0 "$container" 2>/dev/null; do
  code=0
  wait "$container" || code=$?
done
finish "$code"
