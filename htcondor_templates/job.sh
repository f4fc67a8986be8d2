#!/bin/bash
# Start the container of run [= run_id =] on a worker, written by hpcdeploy [= version =]. Its arguments are those of program.sh:
# the task's number and the cluster id first.
[% include "login/state.sh" %]
set -u
run=$(dirname -- "$0")
finish() { exit "$1"; }
sha256=[= sha256 =]
image=[= (fetched_from | word) if fetched_from else '$(cat "$run/image")' =]
[% if not fetched_from %]
if [ ! -r "$image" ]; then
  echo "this worker, $(uname -n), does not see $image: the setting htcondor-container = \"apptainer\" requires one file system for all machines" >&2
  exit 1
fi
[% endif %]

[% if setup_values %]
[= setup_values =]
[% endif %]
[% include setup_file %]
set -u
[% include "login/job/clean.sh" %]
# Export PATH, because Apptainer needs it to find the programs of the GPU driver, such as nvidia-smi and rocminfo. HTCondor starts a job without
# PATH. bash (5.2) then uses a default that it does not export, and that ends with "." (seen with HTCondor 23.9, Apptainer 1.4.5).
export PATH="${PATH%:.}"
[% include "login/job/temporary_folders.sh" %]
# Put Apptainer's temporary files and cache into the job's scratch folder, which HTCondor removes at the end.
scratch=${_CONDOR_SCRATCH_DIR:?is not set: HTCondor starts this}
mkdir -p "$scratch/.apptainer/cache"
export [= prefix =]_TMPDIR="$scratch/.apptainer" [= prefix =]_CACHEDIR="$scratch/.apptainer/cache"

[% include "login/job/field.sh" %]
mounts=()
mount_folder() { mounts+=(--mount "type=bind,$(field source "$1"),$(field destination "$1")"); }
mount_folder "$PWD"
while IFS= read -r bind; do mounts+=(--mount "$bind"); done <"$run/binds"
# The run's folder is mounted last. Otherwise a read-only bind of a parent folder would prevent that the program's start is recorded.
mount_folder "$run"
mount_folder "$scratch"
[% if mounted %]
placements=([% for path, target, kind in mounted %][= path =] [= target =] [= kind =][= " " if not loop.last =][% endfor %])
[% include "login/job/placements.sh" %]
[% endif %]
[% include "login/job/temporary.sh" %]
[% if gpus %]
gpu=[= gpus.flag or '""' =]
[% if gpus.drivers %]
gpu_drivers=([% for driver in gpus.drivers %][= driver.device =]=[= driver.flag =][= " " if not loop.last =][% endfor %])
[% include "login/job/gpus.sh" %]
[% endif %]
[% endif %]

[% if not fetched_from %]
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=([= image_cache_owners | words =])
image_fault=""
# Load the functions that check the image. The submission script wrote them, and uses the same ones (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || exit 1
if ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(uname -n))" >&2
  exit 1
fi

[% endif %]
unbegun=$run/tasks/.unbegun.$2.$1.${HPCDEPLOY_RESTART:-0}
[% include "login/job/not_started.sh" %]
contain() { exec [= apptainer | word =] --quiet exec --no-eval[= ' ${gpu:+"$gpu"}' if gpus =][= ' --no-https' if in_job and plain_http =] --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
# HTCondor sends signals to this shell, which forwards them, and exits with the container's exit code. set -m is needed because otherwise the
# container would ignore INT and QUIT (bash(1), SIGNALS).
container=""
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "signalled=yes; kill -$signal \"\$container\" 2>/dev/null" "$signal"
done
set -m
contain "$@" &
[% include "login/job/wait.sh" %]
[% include "login/job/started.sh" %]
exit "$code"
