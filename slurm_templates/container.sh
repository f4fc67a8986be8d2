image=$(cat "$run/image") || finish 1
[% include "login_templates/temporary_folders.sh" %]
# Apptainer's temporary files and cache: on the node's own disk, outside $HOME, gone with the job.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
export [= prefix =]_TMPDIR="$scratch" [= prefix =]_CACHEDIR="$scratch/cache"

[% include "login_templates/owner_of.sh" %]

[% include "login_templates/trust.sh" %]

[% if in_job %]
[% include "slurm_templates/pull.sh" %]

[% endif %]
if [ -e "$image" ] && ! check_image "$image" [= sha256 =] "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir=[= workdir or ('"$run/output' ~ ('/$task' if array else '') ~ '"') =]
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --mount, unlike --bind, can name every path: its fields are quoted as in CSV (apptainer exec --help).
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=()
[% if workdir %]
mounts+=(--mount "type=bind,$(field source "$PWD"),$(field destination "$PWD")")
[% endif %]
[% for bind in binds %]
mounts+=(--mount "type=bind,$(field source [= bind.source | path =]),$(field destination [= bind.destination | path =])[= ',ro' if bind.read_only =]")
[% endfor %]
# Behind these: a folder that is mounted for reading only may hold the run's, and the program could not note that it began.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
[% if mounted %]
[% include "login_templates/places.sh" %]
[% endif %]
[% include "login_templates/temporary.sh" %]
[% if gpus %]
[% include "login_templates/gpus.sh" %]
[% endif %]

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
[% include "login_templates/unbegun.sh" %]
contain() { exec [= apptainer | word =] exec --no-eval[= ' ${gpu:+"$gpu"}' if gpus =] --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }
