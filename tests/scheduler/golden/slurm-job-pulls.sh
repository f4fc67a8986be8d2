#!/bin/bash
# Submit run hello-0123456789 to slurm. Written by hpcdeploy 0.1.0.
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
setup_lines='module load apptainer/1.4'
setup_must_succeed=yes
setup_exit=(exit 10)
run_id=hello-0123456789
scheduler=slurm
submit_command=sbatch
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=job
image_source=oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
cache_limit=0
image_cache_owners=()
has_uploads=no
trees=()
after=()
is_array=no
log_name=0
dependency=''
mpi=''
job_functions=(owner_of trusted is_private others_can_change verified_in is_the_image replace_by_copy check_image open_lock image_mode)
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
  cache=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/images'
  tmp=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/tmp'
}
set_job_paths() {
  :
}
write_files() {
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
#SBATCH --job-name=hello-0123456789
#SBATCH --comment=hpcdeploy:hello-0123456789
#SBATCH --nodes=1

# Run hello-0123456789, written by hpcdeploy 0.1.0. sbatch --chdir starts it in the run's folder.
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
  echo "job $job: run hello-0123456789 was cancelled; nothing to do" >&2
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
  echo "job $job: run hello-0123456789 belongs to job $owner; nothing to do" >&2
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

setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(finish 1)
# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.
set -u
# --- login/job/clean.sh: keep the node's own Python out of the container.
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# srun inherits --export=NONE from sbatch and would start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

image=$(cat "$run/image") || finish 1
sha256=abababababababababababababababababababababababababababababababab
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# --- login/job/temporary_folders.sh: a variable for temporary files may be meant for another machine, for example set by a profile of
# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
export SINGULARITY_TMPDIR="$scratch" SINGULARITY_CACHEDIR="$scratch/cache"

# The functions that check the image, written by the submission script: the same as there (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
apptainer=singularity
reference=oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
pull_options=(--disable-cache)
# --- login/job/pull.sh: pull the image into the shared cache. The first task that finds it missing pulls it; the others wait for it.

if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --- login/job/field.sh: quote a field of --mount, which unlike --bind accepts every path, as in CSV (apptainer exec --help).
mounts=()
mounts+=(--mount "type=bind,$(field source /data/common),$(field destination /data/common),ro")
# The run's folder is mounted after these: a read-only bind of a folder above it would keep the program from recording its start.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes their variables to the program, but mounts

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
# --- login/job/not_started.sh: an image's own environment script may end before its program starts ("exit 0"); Apptainer then exits with 0.
contain() { exec singularity --quiet exec --no-eval --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

# Slurm signals this shell: forward the signal, and stay to record how the program ended.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$task" "$job" &
# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
finish "$code"
HPCDEPLOY_END_0123456789
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id.
# The command and its variables are quoted here once, and nothing else interprets them.
# The first argument is a file; emptying it shows that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- /.singularity.d/runscript
exec "$@"
HPCDEPLOY_END_0123456789
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.

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

# --- login/open_lock.sh: open the lock file $1, in a folder that others may write to, as file descriptor $opened. Nothing is written

# --- login/image_mode.sh: print the mode of an image in the folder $1: private, unless the folder is for a group (setgid, readable).

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network

# --- login/submit.sh: submit the run, exactly once however often this runs. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
