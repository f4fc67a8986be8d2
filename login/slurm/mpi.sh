# --- login/slurm/mpi.sh: check that Slurm has the MPI plugin, because sbatch does not know --mpi.
check_mpi() {
  local plugins
  # Every Slurm has the plugin "none": output without it is no list. srun treats "openmpi" as "none".
  plugins=$(srun --mpi=list 2>&1) || true
  plugins=$(tr -s '[:space:],' ' ' <<<"$plugins")
  case "$mpi $plugins " in
    "openmpi "* | *" $mpi "*) ;;
    *" none "*) stop 12 "Slurm on this machine has no MPI plugin $mpi; set the key mpi to one that it has. srun --mpi=list prints: $plugins" ;;
  esac
}
