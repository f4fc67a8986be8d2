# --- login/slurm/mpi.sh: check that Slurm has the MPI plugin $mpi, because sbatch, unlike srun, does not check it.
check_mpi() {
  local plugins
  # Output without the plugin "none", which every Slurm has, is not a list of plugins; then nothing is checked. srun treats "openmpi" as
  # "none".
  plugins=$(srun --mpi=list 2>&1) || true
  plugins=$(tr -s '[:space:],' ' ' <<<"$plugins")
  case "$mpi $plugins " in
    "openmpi "* | *" $mpi "*) ;;
    *" none "*) stop 12 "Slurm on this machine has no MPI plugin $mpi; set the key mpi to an available plugin. srun --mpi=list prints: $plugins" ;;
  esac
}
