# What Slurm is asked before the job is submitted: what it takes, and what then waits for ever or fails on the node.
check_job() {
  local version output
[% if mpi %]
  # sbatch does not know --mpi. Every Slurm has the plugin "none": an output without it is no list. srun reads "openmpi" as "none".
  local plugin=[= mpi | word =] plugins
  plugins=$(srun --mpi=list 2>&1) || true
  plugins=$(xargs <<<"$plugins") || true
  case "$plugin ${plugins//,/ } " in
    "openmpi "* | *" $plugin "*) ;;
    *" none "*) die 12 "Slurm on this machine has no MPI plugin $plugin: set the key mpi to one that it has. srun --mpi=list says: $plugins" ;;
  esac
[% endif %]
  # Until 25.11 sbatch rejects what no node of the cluster can ever run; 26.05 takes it and leaves it in the queue, and still tells so
  # with --test-only. Its other answers (nodes that are down, a limit that is reached) may change while the job waits.
  version=$(sbatch --version 2>/dev/null) || return 0
  [[ $version =~ ([0-9]+)\.([0-9]+) ]] || return 0
  [ "$((10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}))" -ge 2605 ] || return 0
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" [= '--array=0 ' if in_parts =]job.sh 2>&1) || case $output in
    *"node configuration is not available"*) die 12 "Slurm rejects the job: ${output//$'\n'/; }" ;;
  esac
}
