# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
