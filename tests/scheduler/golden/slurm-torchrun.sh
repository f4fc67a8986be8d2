#!/bin/bash
# Submit run ranks-0123456789 to slurm. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
# It may run any number of times: the run is submitted once, and every later call reports that. With the argument "again" it
# first queries the scheduler for the run's job, even if the run's folder, which may be lost, has no record of an earlier call.
# With the argument "bring" it does not ask you to copy missing files, because hpcdeploy uploads them.
#
# Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
# 12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this again.
# 14 files must be uploaded first (they are listed). 15 the run was cancelled.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.

main() {
# --- values of this script
run_id=ranks-0123456789
scheduler=slurm
submit_command=sbatch
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=cache
image_source=''
cache_limit=0
image_cache_owners=()
has_uploads=no
trees=()
after=()
is_array=no
log_name=0
dependency=''
mpi=''
job_functions=(owner_of trusted is_private others_can_change verified_in is_the_image replace_by_copy check_image)
set_paths() {
  root="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy
  cache="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/images
  tmp="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/tmp
}
set_job_paths() {
  :
}
write_files() {
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
#SBATCH --job-name=ranks-0123456789
#SBATCH --comment=hpcdeploy:ranks-0123456789
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gres=gpu:4
#SBATCH --mem=65536M
#SBATCH --time=0-01:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue

# Run ranks-0123456789, written by hpcdeploy 0.1.0. sbatch --chdir starts it in the run's folder.
# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
set -u
run=$PWD
chunk=""
task=${SLURM_ARRAY_TASK_ID:-0}
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

# Write the file $1 of the run's tasks atomically.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# A run that was cancelled before its job was known may still get a job, late.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run ranks-0123456789 was cancelled; nothing to do" >&2
  # Slurm then reports it as cancelled too.
  scancel "$job" && sleep 60
  exit 1
fi

# One run, one job: only one process can make the link that names the job. A second job of this run ends here.
ln -sT "$job" "$run/id$chunk" 2>/dev/null
owner=$(readlink "$run/id$chunk")
if [ -z "$owner" ]; then
  echo "job $job: cannot make a link in $run on $(hostname) (a full disk, a quota, a missing folder?)" >&2
  exit 1
fi
if [ "$owner" != "$job" ]; then
  echo "job $job: run ranks-0123456789 belongs to job $owner; nothing to do" >&2
  exit 0
fi

# After a requeue the recorded end of the earlier attempt is no longer valid.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # If a requeue on another node superseded this attempt, because this node was lost for a time, do not record its end.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

# --- login/no_setup.sh: the cluster has no setup lines.
set -u
# --- login/job/clean.sh: keep the node's own Python out of the container.
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# srun inherits --export=NONE from sbatch and would start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

# Slurm signals this shell: forward the signal, and stay to record how the program ended.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
# The processes can meet on the node with SLURM_PROCID 0, at the first port from the job's own upwards at which nothing listens there.
free_port() {
  local port=$((10000 + SLURM_JOB_ID % 20000))
  while (exec 3<>"/dev/tcp/localhost/$port") 2>/dev/null; do port=$((10000 + (port - 9999) % 20000)); done
  echo "$port"
}
MASTER_ADDR=${SLURMD_NODENAME:-$(hostname)}
MASTER_PORT=$(free_port)
export MASTER_ADDR MASTER_PORT
# Process 0 need not be on this node: with a tree or block topology (seen with Slurm 26.05), or the distribution "arbitrary", it is on
# another one. Only Slurm knows, so start a step with the same options.
# shellcheck disable=SC2016  # each process expands it
leader=$(srun --kill-on-bad-exit=1 --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} --mpi=none bash -c "$(declare -f free_port)"'
  [ "$SLURM_PROCID" != 0 ] || echo "HPCDEPLOY_LEADER $SLURMD_NODENAME $(free_port)"' </dev/null | sed -n 's/.*HPCDEPLOY_LEADER //p')
if [ -n "$leader" ]; then
  read -r MASTER_ADDR MASTER_PORT <<<"$leader"
else
  echo "srun did not report the node of process 0 (its message is above): MASTER_ADDR is $MASTER_ADDR, the first node" >&2
fi
warning=USR1
# --- login/job/warn.sh: send the warning signal ($warning) to the programs. srun would send it to every process of the step: also to the
srun --kill-on-bad-exit=1 --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} bash "$run/rank.sh" "$task" "$job" &
# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
# The first process that failed has recorded its exit code.
first=$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
if [ -L "$first" ]; then read -r code why <<<"$(readlink "$first")"; fi
rm -f "$first" "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"

retry_codes=""
retry_max=1
# --- login/job/retry.sh: the job requeues itself, only on the given exit codes ($retry_codes, empty: all but 0), at most $retry_max times.
finish "$code"
HPCDEPLOY_END_0123456789
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run ranks-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id.
# The command and its variables are quoted here once, and nothing else interprets them.
# The first argument is a file; emptying it shows that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=ranks-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- python -m ranks
# srun starts one torchrun on each node, which starts the processes of its node. They meet at process 0, so the rank of a node is that of
# its process, not SLURM_NODEID, whose order a topology may change. The options are spelled in the older way, which new releases accept.
set -- torchrun --nnodes="$SLURM_JOB_NUM_NODES" --node_rank="$SLURM_PROCID" --nproc_per_node=4 \
  --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT" --no_python "$@"
exec "$@"
HPCDEPLOY_END_0123456789
  write "$run/rank.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
# One process of run ranks-0123456789, written by hpcdeploy 0.1.0. srun starts it once per process, on the process's node, so that
# $SLURM_PROCID, $SLURM_NODEID and folders of the node have their own values. Arguments: those of program.sh.
# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
known_state
set -u
run=$PWD
finish() { exit "$1"; }
why=""

image=$(cat "$run/image") || finish 1
sha256=abababababababababababababababababababababababababababababababab
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# --- login/job/temporary_folders.sh: a variable for temporary files may be meant for another machine, for example set by a profile of
# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
export APPTAINER_TMPDIR="$scratch" APPTAINER_CACHEDIR="$scratch/cache"

# The functions that check the image, written by the submission script: the same as there (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --- login/job/field.sh: quote a field of --mount, which unlike --bind accepts every path, as in CSV (apptainer exec --help).
mounts=()
mounts+=(--mount "type=bind,$(field source "${TMPDIR:?is not set on this machine, but the path needs it: set it, or name another path}"/here),$(field destination /here)")
# The run's folder is mounted after these: a read-only bind of a folder above it would keep the program from recording its start.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes their variables to the program, but mounts
gpu=--nv
gpu_drivers=(nvidiactl=--nv kfd=--rocm)
# --- login/job/gpus.sh: choose Apptainer's option for the vendor's GPUs by the device that the driver makes ($gpu_drivers).

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
# --- login/job/not_started.sh: an image's own environment script may end before its program starts ("exit 0"); Apptainer then exits with 0.
contain() { exec apptainer --quiet exec --no-eval ${gpu:+"$gpu"} --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$@" &
# The process that gets the warning (login/job/warn.sh).
note=$run/tasks/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME.$SLURM_LOCALID
printf '%s\n' "$!" >"$note"
# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
rm -f "$note"
# Use the exit code of the first rank that failed; srun reports the highest, which may come from ranks it killed.
[ "$code" = 0 ] || ln -s "$code${why:+ $why}" "$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" 2>/dev/null
# After the warning each process saves its work in its own time: srun must not end the others.
[ ! -e "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" ] || code=0
finish "$code"
HPCDEPLOY_END_0123456789
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/no_setup.sh: the cluster has no setup lines.

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/messages.sh: strict mode, private files, messages. A cut connection must not end the script between the scheduler's

# --- login/owners.sh: who may have written a file. An ACL that lets others write also shows in the mode, as the bits of the group

# --- login/folders.sh: check the cluster's folders; only this user may write to the root.

# --- login/submit_folders.sh: make the folders of the run.

# --- login/run_lock.sh: one call at a time for each run.

# --- login/trust.sh: check that only this user, or trusted users, can have changed an image.

# --- login/image.sh: provide the image, once for all runs, as $cache/SHA256.sif. $image_from is where a missing image comes from.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy reads; a login shell may print other lines before and after it.

# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three

# --- login/slurm/lookup.sh: look for the run's job.

# --- login/slurm/release.sh: print the release of Slurm's command $1 as a number, 2405 for 24.05; 0 if it is unknown.

# --- login/slurm/check_job.sh: find out, before the job is submitted, whether Slurm would accept it and then never start it.

# --- login/slurm/submit.sh: submit a job to Slurm, and understand sbatch's answer.

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network

# --- login/submit.sh: submit the run, exactly once however often this runs. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
