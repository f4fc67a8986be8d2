#!/bin/bash
# Starts the container of run [= run_id =] on a worker, written by hpcdeploy [= version =]. Its arguments are those of program.sh:
# the task's number and the cluster id first.
[% include "login_templates/state.sh" %]
set -u
run=$(dirname -- "$0")
image=[= (fetched_from | word) if fetched_from else '$(cat "$run/image")' =]
[% if not fetched_from %]
if [ ! -r "$image" ]; then
  echo "this worker, $(uname -n), does not see $image: its site says htcondor-container = \"apptainer\", which wants one file system for all" >&2
  exit 1
fi
[% endif %]

[% set setup_must_succeed = false %]
[% set setup_exit = "exit 1" %]
[% include "login_templates/setup.sh" %]
set -u
# Nothing of the worker's own Python may shine through into the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
# HTCondor starts a job without PATH; bash (5.2) then has a default, which it does not export and which ends in ".". Apptainer
# finds the programs of the GPU driver by it, such as nvidia-smi and rocminfo (seen with HTCondor 23.9, Apptainer 1.4.5).
export PATH="${PATH%:.}"
[% include "login_templates/temporary_folders.sh" %]
# Apptainer's temporary files and cache: in the job's own scratch folder, which HTCondor takes away.
scratch=${_CONDOR_SCRATCH_DIR:?is not set: HTCondor starts this}
mkdir -p "$scratch/.apptainer/cache"
export [= prefix =]_TMPDIR="$scratch/.apptainer" [= prefix =]_CACHEDIR="$scratch/.apptainer/cache"

field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=()
mount_folder() { mounts+=(--mount "type=bind,$(field source "$1"),$(field destination "$1")"); }
mount_folder "$PWD"
while IFS= read -r bind; do mounts+=(--mount "$bind"); done <"$run/binds"
# Behind these: a folder that is mounted for reading only may hold the run's, and the program could not note that it began.
mount_folder "$run"
mount_folder "$scratch"
[% if mounted %]
[% include "login_templates/places.sh" %]
[% endif %]
[% include "login_templates/temporary.sh" %]
[% if gpus %]
[% include "login_templates/gpus.sh" %]
[% endif %]

[% if not fetched_from %]
[% include "login_templates/owner_of.sh" %]

[% include "login_templates/trust.sh" %]

if ! check_image "$image" [= sha256 =] "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(uname -n))" >&2
  exit 1
fi

[% endif %]
unbegun=$run/tasks/.unbegun.$2.$1.${HPCDEPLOY_RESTART:-0}
[% include "login_templates/unbegun.sh" %]
contain() { exec [= apptainer | word =] exec --no-eval[= ' ${gpu:+"$gpu"}' if gpus =][= ' --no-https' if in_job and plain_http =] --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
# HTCondor signals this shell, which passes that on and tells the container's exit code. Without -m the container would ignore INT and QUIT
# (bash(1), SIGNALS).
container=""
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "signalled=yes; kill -$signal \"\$container\" 2>/dev/null" "$signal"
done
set -m
contain "$@" &
[% include "slurm_templates/waiting.sh" %]
[% include "login_templates/begun.sh" %]
exit "$code"
