[% include "slurm_templates/release.sh" %]

# Asks Slurm before the job is submitted about what it would accept and then leave in the queue for ever, or fail on the node.
check_job() {
  local output
[% if mpi %]
  # sbatch does not know --mpi. Every Slurm has the plugin "none": output without it is no list. srun reads "openmpi" as "none".
  local plugin=[= mpi | word =] plugins
  plugins=$(srun --mpi=list 2>&1) || true
  plugins=$(tr -s '[:space:],' ' ' <<<"$plugins")
  case "$plugin $plugins " in
    "openmpi "* | *" $plugin "*) ;;
    *" none "*) stop 12 "Slurm on this machine has no MPI plugin $plugin; set the key mpi to one that it has. srun --mpi=list prints: $plugins" ;;
  esac
[% endif %]
  # Until 25.11 sbatch rejects what no node of the cluster can ever run. 26.05 accepts it and leaves it in the queue; only --test-only
  # still reports it. What else --test-only reports (nodes that are down, a limit that is reached) may change while the job waits.
  # It never leaves a job behind (job_allocate, will_run, in src/slurmctld/job_mgr.c).
  [ "$(slurm_release sbatch)" -ge 2605 ] || return 0
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" [= '--array=0 ' if in_parts =]job.sh 2>&1) || case $output in
    *"node configuration is not available"*) stop 12 "Slurm rejects the job: ${output//$'\n'/; }" ;;
  esac
}
