# --- login/job/warn.sh: send the warning signal ($warning) to the programs. Forwarding it to srun does not work: srun would send the signal
# twice to the program, and also to the process that mounts the image, which would end ("Bus error", seen with squashfuse). So a separate
# step sends the signal to the processes on each node.
# shellcheck disable=SC2317,SC2329  # the trap calls it
warn() {
  : >"$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
  # shellcheck disable=SC2016  # the bash of the step expands the variables
  srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 --mem=0 \
    bash -c '
      for file in "$2/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME".*; do [ ! -e "$file" ] || kill "-$1" "$(cat "$file")"; done
    ' warn "$warning" "$run/tasks"
}
trap 'signalled=yes; warn' "$warning"
