#!/bin/bash
# Submit run train-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
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
run_id=train-0123456789
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
apptainer=apptainer
pull_options=(--disable-cache)
has_uploads=no
trees=()
after=()
is_array=no
container=universe
tasks=100
task_folder=/\$\(Process\)
commas_allowed=yes
or_a_comma=''
has_inputs=no
sends_image=yes
notes_begin=yes
set_paths() {
  root="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy
  cache="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/images
  tmp="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/tmp
}
set_job_paths() {
  workdir=''
}
write_files() {
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run train-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its arguments are the
# task's number and the job's id.
# The command and its variables are quoted here once, and nothing else interprets them.
# HTCondor transfers this back into the run's folder (job.sub): it shows that the program started.
true >.hpcdeploy-begun
export HPCDEPLOY_RUN=train-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
export GREETING='it'"'"'s $5
now'
export EMPTY=''
# Without a command, run the image's own run script.
set -- python -c 'print('"'"'a b'"'"')' '$HOME' 'say "hi"; rm -rf /' 'two
lines' '' 'naïve ☃' 'back\slash' '%s {{ x }}' -
# --- login/job/beside.sh: run the program as a child, forward signals to it, and keep its exit code.
# --- login/job/keep_back.sh: HTCondor transfers every new file of this folder. A file that cannot be read would hold the job (hold code
# HTCondor reads the output through pipes, and loses what it has not read when the job ends, up to 64 KiB (seen with 23.9 on a busy
# machine): so the job ends a second later.
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
HPCDEPLOY_END_0123456789
}
submit_description() {
  cat <<'HPCDEPLOY_END_0123456789'
# Run train-0123456789, written by hpcdeploy 0.1.0. The lines above are the paths of the run, its work and its image.
universe                = container
container_image         = $(image_file)
# No absolute path: HTCondor would expect that program in the image (condor_submit(1), container universe).
executable              = program.sh
arguments               = $(Process) $(Cluster)
# The number of earlier starts: HTCondor fills it in when it has found a worker.
environment             = "HPCDEPLOY_RESTART=$$([ifThenElse(isUndefined(NumJobStarts),0,NumJobStarts)])"
initialdir              = $(work_folder)
log                     = $(run_folder)/events.log
output                  = $(run_folder)/logs/$(Process).out
error                   = $(run_folder)/logs/$(Process).err
stream_output           = true
stream_error            = true
should_transfer_files   = YES
when_to_transfer_output = ON_EXIT
notification            = never
+HpcdeployRun = "train-0123456789"
batch_name = train-0123456789
request_cpus = 8
request_gpus = 2
request_memory = 32768MB
request_disk = 10240MB
allowed_execute_duration = 14400
periodic_remove = JobStatus == 5 && (HoldReasonCode =?= 46 || HoldReasonCode =?= 47)
periodic_release = member(HoldReasonCode, {13, 19, 45, 48}) && NumHolds <= 4 && time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds
accounting_group = abc
max_materialize = 10
+WantGPULab = true
gpus_minimum_capability = 8.0
queue 100
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

# --- login/open_lock.sh: open the lock file $1, in a folder that others may write to, as file descriptor $opened. Nothing is written

# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and

# --- login/image_mode.sh: print the mode of an image in the folder $1: private, unless the folder is for a group (setgid, readable).

# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload it instead ($can_upload), a failure is only a message.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy reads; a login shell may print other lines before and after it.

# --- login/htcondor/lookup.sh: look for the run's job.

# --- login/htcondor/submit.sh: submit a job to HTCondor, and understand condor_submit's answer.

# --- login/htcondor/own_copy.sh: HTCondor reads the image when it finds a worker, possibly hours later. If others can replace the image

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network

# --- login/submit.sh: submit the run, exactly once however often this runs. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
