#!/bin/bash
# Submit run site-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
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
# The command and its variables are quoted here once, and nothing else interprets them.
# The first argument is a file; emptying it shows that the program started (login/job/not_started.sh).
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
# --- login/job/beside.sh: run the program as a child, forward signals to it, and keep its exit code.
# HTCondor reads the output through pipes, and loses what it has not read when the job ends, up to 64 KiB (seen with 23.9 on a busy
# machine): so the job ends a second later.
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
HPCDEPLOY_END_0123456789
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
# Start the container of run site-0123456789 on a worker, written by hpcdeploy 0.1.0. Its arguments are those of program.sh:
# the task's number and the cluster id first.
# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
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
# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.
set -u
# --- login/job/clean.sh: keep the node's own Python out of the container.
# HTCondor starts a job without PATH; bash (5.2) then has a default, which it does not export and which ends with ".". Apptainer uses it
# to find the programs of the GPU driver, such as nvidia-smi and rocminfo (seen with HTCondor 23.9, Apptainer 1.4.5).
export PATH="${PATH%:.}"
# --- login/job/temporary_folders.sh: a variable for temporary files may be meant for another machine, for example set by a profile of
# Apptainer's temporary files and cache: in the job's own scratch folder, which HTCondor removes.
scratch=${_CONDOR_SCRATCH_DIR:?is not set: HTCondor starts this}
mkdir -p "$scratch/.apptainer/cache"
export SINGULARITY_TMPDIR="$scratch/.apptainer" SINGULARITY_CACHEDIR="$scratch/.apptainer/cache"

# --- login/job/field.sh: quote a field of --mount, which unlike --bind accepts every path, as in CSV (apptainer exec --help).
mounts=()
mount_folder() { mounts+=(--mount "type=bind,$(field source "$1"),$(field destination "$1")"); }
mount_folder "$PWD"
while IFS= read -r bind; do mounts+=(--mount "$bind"); done <"$run/binds"
# The run's folder is mounted after these: a read-only bind of a folder above it would keep the program from recording its start.
mount_folder "$run"
mount_folder "$scratch"
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes their variables to the program, but mounts
gpu=--nv
gpu_drivers=(nvidiactl=--nv kfd=--rocm)
# --- login/job/gpus.sh: choose Apptainer's option for the vendor's GPUs by the device that the driver makes ($gpu_drivers).

# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# The functions that check the image, written by the submission script: the same as there (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || exit 1
if ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(uname -n))" >&2
  exit 1
fi

unbegun=$run/tasks/.unbegun.$2.$1.${HPCDEPLOY_RESTART:-0}
# --- login/job/not_started.sh: an image's own environment script may end before its program starts ("exit 0"); Apptainer then exits with 0.
contain() { exec singularity --quiet exec --no-eval ${gpu:+"$gpu"} --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
# HTCondor signals this shell, which forwards the signal and returns the container's exit code. Without -m the container would ignore INT
# and QUIT (bash(1), SIGNALS).
container=""
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "signalled=yes; kill -$signal \"\$container\" 2>/dev/null" "$signal"
done
set -m
contain "$@" &
# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
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
# The number of earlier starts: HTCondor fills it in when it has found a worker.
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

# --- login/open_lock.sh: open the lock file $1, in a folder that others may write to, as file descriptor $opened. Nothing is written

# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and

# --- login/image_mode.sh: print the mode of an image in the folder $1: private, unless the folder is for a group (setgid, readable).

# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload it instead ($can_upload), a failure is only a message.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy reads; a login shell may print other lines before and after it.

# --- login/htcondor/lookup.sh: look for the run's job.

# --- login/htcondor/submit.sh: submit a job to HTCondor, and understand condor_submit's answer.

# --- login/htcondor/binds.sh: write the functions that the job needs, and the binds of the container ($binds: source, destination, rw or ro of each).

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network

# --- login/submit.sh: submit the run, exactly once however often this runs. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
