#!/bin/bash
# Submit run sweep-0123456789 to slurm. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's commands, but not hpcdeploy.
# You can run it several times: it submits the run once, and later calls report the submitted job. With the argument "again" it
# first queries the scheduler for the run's job, even if the run's folder does not exist or has no record of an earlier call.
# With the argument "bring" it leaves two messages to hpcdeploy: which files are missing, and which job was submitted.
#
# Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
# 12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this script again.
# 14 files must be uploaded first (they are listed). 15 the run was cancelled.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

main() {
# --- values of this script
run_id=sweep-0123456789
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
is_array=yes
log_name=%a
dependency=''
mpi=''
job_functions=(owner_of trusted is_private others_can_change verified_in is_the_image replace_by_copy check_image)
tasks=3
array_throttle=%2
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
#SBATCH --job-name=sweep-0123456789
#SBATCH --comment=hpcdeploy:sweep-0123456789
#SBATCH --nodes=1
#SBATCH --array=0-2%2

# Run sweep-0123456789, written by hpcdeploy 0.1.0. sbatch --chdir starts it in the run's folder.
# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot
set -u
run=$PWD
# A run that is too large for one array is split into chunks: $1 is a dot and the number of the chunk's first task; empty in the first chunk.
chunk=${1-}
task=$((${chunk#.} + SLURM_ARRAY_TASK_ID))
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

# Slurm names the logs of a later chunk by task numbers within the chunk; link them to the name with the task number in the run.
if [ -n "$chunk" ]; then
  for stream in out err; do
    ln "$run/parts/${chunk#.}-$SLURM_ARRAY_TASK_ID.$stream" "$run/logs/$task.$stream" 2>/dev/null
  done
  # Where that fails, redirect the output: some file systems have no hard links, or none to another folder (BeeGFS).
  [ "$run/logs/$task.out" -ef "$run/parts/${chunk#.}-$SLURM_ARRAY_TASK_ID.out" ] ||
    exec >>"$run/logs/$task.out" 2>>"$run/logs/$task.err"
fi

# Write the text $2 to the file $1 in the folder tasks, atomically.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# If the run was cancelled before its job id was known, this job may have been submitted afterwards: end it.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run sweep-0123456789 was cancelled; nothing to do" >&2
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
  echo "job $job: run sweep-0123456789 belongs to job $owner; nothing to do" >&2
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

# --- login/no_setup.sh: the cluster has no setup lines.
set -u
# --- login/job/clean.sh: remove variables with which the node's Python and libraries would affect programs in the container.
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# Without this, srun would inherit --export=NONE from sbatch, and start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

# Read the line of this task: its number and its parameters, encoded in printable characters.
IFS=' ' read -r -a line < <(sed -n "$((task + 1)){p;q}" "$run/parameters") || finish 1

image=$(cat "$run/image") || finish 1
sha256=abababababababababababababababababababababababababababababababab
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# --- login/job/temporary_folders.sh: unset each variable that names a folder for temporary files which does not exist here. A login profile
# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
export APPTAINER_TMPDIR="$scratch" APPTAINER_CACHEDIR="$scratch/cache"

# Load the functions that check the image. The submission script wrote them, and uses the same ones (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output/$task"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --- login/job/field.sh: print KEY=VALUE as a field of --mount, quoted as in CSV (apptainer exec --help). --bind is not used, because it
mounts=()
# The run's folder is mounted last. Otherwise a read-only bind of a parent folder would prevent that the program's start is recorded.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes the variables that name them to the program, but

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
# --- login/job/not_started.sh: mark that the program has not started, in the file $unbegun. program.sh, in the container, empties the file,
contain() { exec apptainer --quiet exec --no-eval --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

# Slurm sends signals to this shell. Forward them, and do not exit, so that the end of the program is recorded.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$task" "$job" "${line[@]}" &
# --- login/job/wait.sh: wait for the container's exit code. A signal to this shell ends the wait but not the program, so wait again.
# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
finish "$code"
HPCDEPLOY_END_0123456789
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run sweep-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id, then its line of the file "parameters".
# The command and its variables are quoted here, and no other shell interprets them.
# The first argument is a file. It is emptied to record that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=sweep-0123456789
export HPCDEPLOY_TASK="$3"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# printf decodes a value. A dot is appended and removed again, because $( ) would remove line breaks at the end of the value.
shift 3
value=$(printf '%b.' "${1#*=}")
export HPCDEPLOY_PARAM_lr="${value%.}"
shift
value=$(printf '%b.' "${1#*=}")
export HPCDEPLOY_PARAM_note="${value%.}"
shift
export NOTE='<'"$HPCDEPLOY_PARAM_note"'>'
export PLAIN='a b'
# Without a command, run the image's own run script.
set -- python train.py --lr="$HPCDEPLOY_PARAM_lr" "$HPCDEPLOY_PARAM_note"' ''{''}' '$HOME it'"'"'s' ''
exec "$@"
HPCDEPLOY_END_0123456789
  write "$run/parameters" <<'HPCDEPLOY_END_0123456789'
0 lr=0.10 note=it\0047s\0040\00445\0012now
1 lr=1e-4 note=
2 lr=-1 note=na\0303\0257ve\0040\0134\0040\0342\0230\0203
HPCDEPLOY_END_0123456789
}
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands

# --- login/no_setup.sh: the cluster has no setup lines.

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/messages.sh: set strict mode and private files, and define messages. HUP and PIPE are ignored, because a lost connection

# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to

# --- login/folders.sh: check the cluster's folders, and that only this user can write to the root.

# --- login/submit_folders.sh: make the folders of the run, of images and of temporary files.

# --- login/run_lock.sh: lock the run, so that only one script at a time works on it.

# --- login/trust.sh: check that only this user and trusted users can have changed an image.

# --- login/image.sh: provide the image as $cache/SHA256.sif, once for all runs. $image_from tells where a missing image is taken from.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.

# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three

# --- login/slurm/lookup.sh: find the run's job.

# --- login/slurm/release.sh: print the release of Slurm that the command $1 belongs to, as a number: 2405 for 24.05, 0 if it is unknown.

# --- login/slurm/check_job.sh: check, before the job is submitted, that Slurm would not accept a job that it can never start.

# --- login/slurm/submit.sh: submit a job to Slurm, and parse the output of sbatch.

# --- login/slurm/chunks.sh: split a large run into several arrays (chunks).

# --- login/slurm/array.sh: add the options of sbatch for an array, or for a chunk of a large array, to the variables of submit_job.

# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and

# --- login/submit.sh: submit the run exactly once, however often this script is run. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
