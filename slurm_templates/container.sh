image=$(cat "$run/image") || finish 1
sha256=[= sha256 =]
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=([= image_cache_owners | words =])
image_fault=""
[% include "login/job/temporary_folders.sh" %]
[% include "login/job/scratch.sh" %]
export [= prefix =]_TMPDIR="$scratch" [= prefix =]_CACHEDIR="$scratch/cache"

# Load the functions that check the image. The submission script wrote them, and uses the same ones (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
[% if in_job %]
apptainer=[= apptainer | word =]
reference=[= reference | word =]
pull_options=([= pull_options | words =])
[% include "login/job/pull.sh" %]

[% endif %]
if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir=[= workdir or ('"$run/output' ~ ('/$task' if array else '') ~ '"') =]
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

[% include "login/job/field.sh" %]
mounts=()
[% if workdir %]
mounts+=(--mount "type=bind,$(field source "$PWD"),$(field destination "$PWD")")
[% endif %]
[% for bind in binds %]
mounts+=(--mount "type=bind,$(field source [= bind.source | path =]),$(field destination [= bind.destination | path =])[= ',ro' if bind.read_only =]")
[% endfor %]
# The run's folder is mounted last. Otherwise a read-only bind of a parent folder would prevent that the program's start is recorded.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
[% if mounted %]
placements=([% for path, target, kind in mounted %][= path =] [= target =] [= kind =][= " " if not loop.last =][% endfor %])
[% include "login/job/placements.sh" %]
[% if not (workdir or launched) %]
[% include "login/job/clear_placements.sh" %]
[% endif %]
[% endif %]
[% include "login/job/temporary.sh" %]
[% if gpus %]
gpu=[= gpus.flag or '""' =]
[% if gpus.drivers %]
gpu_drivers=([% for driver in gpus.drivers %][= driver.device =]=[= driver.flag =][= " " if not loop.last =][% endfor %])
[% include "login/job/gpus.sh" %]
[% endif %]
[% endif %]

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
[% include "login/job/not_started.sh" %]
contain() { exec [= apptainer | word =] --quiet exec --no-eval[= ' ${gpu:+"$gpu"}' if gpus =] --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
