# --- login/job/warn.sh: send the warning signal ($warning) to the programs. srun would send it to every process of the step: also to the
# one that mounts the image, which it ends ("Bus error", seen with squashfuse), and twice to the program. So a separate step signals the
# processes of each node.
# shellcheck disable=SC2317,SC2329  # the trap calls it
warn() {
  : >"$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
  # shellcheck disable=SC2016  # the bash of the step expands it
  srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 --mem=0 \
    bash -c '
      for file in "$2/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME".*; do [ ! -e "$file" ] || kill "-$1" "$(cat "$file")"; done
    ' warn "$warning" "$run/tasks"
}
trap 'signalled=yes; warn' "$warning"
