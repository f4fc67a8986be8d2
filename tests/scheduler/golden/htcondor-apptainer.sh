#!/bin/bash
# Submit run site-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
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
setup_lines='module load apptainer/1.4'
setup_must_succeed=yes
setup_exit=(exit 10)
run_id=site-0123456789
scheduler=htcondor
submit_command=condor_submit
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=registry
image_source=''
cache_limit=0
image_cache_owners=()
image_size=3500000000
can_upload=no
reference=oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
registry_host=''
registry_port=443
apptainer=singularity
pull_options=(--disable-cache)
has_uploads=no
trees=()
after=()
is_array=no
container=apptainer
tasks=1
task_folder=''
commas_allowed=yes
or_a_comma=''
has_inputs=no
sends_image=no
notes_begin=no
job_functions=(owner_of trusted is_private others_can_change verified_in is_the_image replace_by_copy check_image)
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
  cache=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/images'
  tmp=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/tmp'
}
set_job_paths() {
  workdir="${WORK:?is not set on this machine, but the path needs it: set it, or name another path}"'/my data'
  binds=(/data/common /data/common ro "${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"'/data set' /data rw)
}
write_files() {
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run site-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id.
# The command and its variables are quoted here, and no other shell interprets them.
# The first argument is a file. It is emptied to record that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=site-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- python -c 'print('"'"'a b'"'"')' '$HOME' 'say "hi"; rm -rf /' 'two
lines' '' 'naïve ☃' 'back\slash' '%s {{ x }}' -
# --- login/job/beside.sh: run the program as a child process, forward signals to it, and set code to its exit code.
# End a second later if the output is a pipe. HTCondor reads the pipe, and loses up to 64 KiB that it has not read when the job ends (seen with
# 23.9 on a busy machine).
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
HPCDEPLOY_END_0123456789
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
# Start the container of run site-0123456789 on a worker, written by hpcdeploy 0.1.0. Its arguments are those of program.sh:
# the task's number and the cluster id first.
# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot
set -u
run=$(dirname -- "$0")
finish() { exit "$1"; }
sha256=abababababababababababababababababababababababababababababababab
image=$(cat "$run/image")
if [ ! -r "$image" ]; then
  echo "this worker, $(uname -n), does not see $image: the setting htcondor-container = \"apptainer\" requires one file system for all machines" >&2
  exit 1
fi

setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 1)
# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect
set -u
# --- login/job/clean.sh: remove variables with which the node's Python and libraries would affect programs in the container.
# Export PATH, because Apptainer needs it to find the programs of the GPU driver, such as nvidia-smi and rocminfo. HTCondor starts a job without
# PATH. bash (5.2) then uses a default that it does not export, and that ends with "." (seen with HTCondor 23.9, Apptainer 1.4.5).
export PATH="${PATH%:.}"
# --- login/job/temporary_folders.sh: unset each variable that names a folder for temporary files which does not exist here. A login profile
# Put Apptainer's temporary files and cache into the job's scratch folder, which HTCondor removes at the end.
scratch=${_CONDOR_SCRATCH_DIR:?is not set: HTCondor starts this}
mkdir -p "$scratch/.apptainer/cache"
export SINGULARITY_TMPDIR="$scratch/.apptainer" SINGULARITY_CACHEDIR="$scratch/.apptainer/cache"

# --- login/job/field.sh: print KEY=VALUE as a field of --mount, quoted as in CSV (apptainer exec --help). --bind is not used, because it
mounts=()
mount_folder() { mounts+=(--mount "type=bind,$(field source "$1"),$(field destination "$1")"); }
mount_folder "$PWD"
while IFS= read -r bind; do mounts+=(--mount "$bind"); done <"$run/binds"
# The run's folder is mounted last. Otherwise a read-only bind of a parent folder would prevent that the program's start is recorded.
mount_folder "$run"
mount_folder "$scratch"
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes the variables that name them to the program, but
gpu=--nv
gpu_drivers=(nvidiactl=--nv kfd=--rocm)
# --- login/job/gpus.sh: set gpu to Apptainer's option for this node's GPUs. $gpu_drivers has pairs DEVICE=OPTION; the first existing

# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# Load the functions that check the image. The submission script wrote them, and uses the same ones (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || exit 1
if ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(uname -n))" >&2
  exit 1
fi

unbegun=$run/tasks/.unbegun.$2.$1.${HPCDEPLOY_RESTART:-0}
# --- login/job/not_started.sh: mark that the program has not started, in the file $unbegun. program.sh, in the container, empties the file,
contain() { exec singularity --quiet exec --no-eval ${gpu:+"$gpu"} --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
# HTCondor sends signals to this shell, which forwards them, and exits with the container's exit code. set -m is needed because otherwise the
# container would ignore INT and QUIT (bash(1), SIGNALS).
container=""
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "signalled=yes; kill -$signal \"\$container\" 2>/dev/null" "$signal"
done
set -m
contain "$@" &
# --- login/job/wait.sh: wait for the container's exit code. A signal to this shell ends the wait but not the program, so wait again.
# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
exit "$code"
HPCDEPLOY_END_0123456789
}
submit_description() {
  cat <<'HPCDEPLOY_END_0123456789'
# Run site-0123456789, written by hpcdeploy 0.1.0. The lines above are the paths of the run and its work.
universe                = vanilla
executable              = $(run_folder)/job.sh
transfer_executable     = false
arguments               = $(Process) $(Cluster)
# HTCondor inserts the number of earlier starts when it has found a worker.
environment             = "HPCDEPLOY_RESTART=$$([ifThenElse(isUndefined(NumJobStarts),0,NumJobStarts)])"
initialdir              = $(work_folder)
log                     = $(run_folder)/events.log
output                  = $(run_folder)/logs/$(Process).out
error                   = $(run_folder)/logs/$(Process).err
# Requires workers that see the same files (FileSystemDomain).
should_transfer_files   = NO
notification            = never
+HpcdeployRun = "site-0123456789"
batch_name = site-0123456789
request_cpus = 1
request_gpus = 1
gpus_minimum_capability = 8.0
gpus_minimum_memory = 40960MB
periodic_release = member(HoldReasonCode, {13, 19, 45, 48}) && NumHolds <= 4 && time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds
queue 1
HPCDEPLOY_END_0123456789
}
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands

# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/messages.sh: set strict mode and private files, and define messages. HUP and PIPE are ignored, because a lost connection

# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to

# --- login/folders.sh: check the cluster's folders, and that only this user can write to the root.

# --- login/submit_folders.sh: make the folders of the run, of images and of temporary files.

# --- login/run_lock.sh: lock the run, so that only one script at a time works on it.

# --- login/trust.sh: check that only this user and trusted users can have changed an image.

# --- login/image.sh: provide the image as $cache/SHA256.sif, once for all runs. $image_from tells where a missing image is taken from.

# --- login/open_lock.sh: open the lock file $1, and set opened to its file descriptor. If others can write to the folder, they can put a

# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and sets

# --- login/image_mode.sh: print the mode for an image in the folder $1: 0640 if the folder is for a group (setgid, readable), else 0600.

# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload the image instead ($can_upload), a failed pull is no error.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.

# --- login/htcondor/lookup.sh: find the run's job.

# --- login/htcondor/submit.sh: submit a job to HTCondor, and parse the output of condor_submit.

# --- login/htcondor/binds.sh: write the functions that the job needs, and the binds of the container. $binds has three words for each bind:

# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and

# --- login/submit.sh: submit the run exactly once, however often this script is run. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
