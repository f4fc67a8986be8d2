#!/bin/bash
# Submit run hello-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
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
run_id=hello-0123456789
scheduler=htcondor
submit_command=condor_submit
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=registry
image_source=''
cache_limit=0
image_cache_owners=()
image_size=3500000000
can_upload=yes
reference=oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
registry_host=registry.example.org
registry_port=443
apptainer=apptainer
pull_options=(--disable-cache)
has_uploads=yes
trees=()
after=()
is_array=no
container=universe
tasks=1
task_folder=''
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
  uploads=(
    abababababababababababababababababababababababababababababababab 3500000000 "${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/images/abababababababababababababababababababababababababababababababab.sif 'the image train' ''
  )
  workdir=''
}
write_files() {
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its arguments are the
# task's number and the job's id.
# The command and its variables are quoted here, and no other shell interprets them.
# Record that the program started: HTCondor transfers this file into the run's folder (job.sub).
true >.hpcdeploy-begun
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- /.singularity.d/runscript
# --- login/job/beside.sh: run the program as a child process, forward signals to it, and set code to its exit code.
# --- login/job/keep_back.sh: move files that HTCondor cannot transfer into a folder, because HTCondor transfers every new file in the working
# End a second later if the output is a pipe. HTCondor reads the pipe, and loses up to 64 KiB that it has not read when the job ends (seen with
# 23.9 on a busy machine).
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
HPCDEPLOY_END_0123456789
}
submit_description() {
  cat <<'HPCDEPLOY_END_0123456789'
# Run hello-0123456789, written by hpcdeploy 0.1.0. The lines above are the paths of the run, its work and its image.
universe                = container
container_image         = $(image_file)
# No absolute path: HTCondor would expect that program in the image (condor_submit(1), container universe).
executable              = program.sh
arguments               = $(Process) $(Cluster)
# HTCondor inserts the number of earlier starts when it has found a worker.
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
+HpcdeployRun = "hello-0123456789"
batch_name = hello-0123456789
request_cpus = 1
periodic_release = member(HoldReasonCode, {13, 19, 45, 48}) && NumHolds <= 4 && time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds
queue 1
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

# --- login/open_lock.sh: open the lock file $1, and set opened to its file descriptor. If others can write to the folder, they can put a

# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and sets

# --- login/image_mode.sh: print the mode for an image in the folder $1: 0640 if the folder is for a group (setgid, readable), else 0600.

# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload the image instead ($can_upload), a failed pull is no error.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.

# --- login/uploads.sh: find out which files must be uploaded first. $uploads has five words for each: sha256, size, path, description and

# --- login/htcondor/lookup.sh: find the run's job.

# --- login/htcondor/submit.sh: submit a job to HTCondor, and parse the output of condor_submit.

# --- login/htcondor/own_copy.sh: use a copy of the image in the root, which only this user can change, if others can replace the image. A check

# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and

# --- login/submit.sh: submit the run exactly once, however often this script is run. docs/architecture.md explains each step.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
