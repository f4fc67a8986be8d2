[% include "slurm_templates/release.sh" %]

# Asks Slurm before the job is submitted about what it would accept and then leave in the queue for ever, or fail on the node.
check_job() {
  local release output unavailable
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
  # 24.11 rejects what no node of the cluster can ever run. 22.05 and 26.05 accept it and leave it in the queue (seen); only --test-only
  # reports it there, and never leaves a job behind (job_allocate, will_run, in src/slurmctld/job_mgr.c).
  release=$(slurm_release sbatch)
  [ "$release" -lt 2411 ] || [ "$release" -ge 2605 ] || return 0
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" [= '--array=0 ' if in_parts =]job.sh 2>&1) && return
  output=${output//$'\n'/; }
  case $output in *"node configuration is not available"*) ;; *) return 0 ;; esac
  # It reports the same where the nodes are only down, drained or reserved now (job_start_data in src/slurmctld/job_scheduler.c).
  unavailable=$(unavailable_nodes) || unavailable="an unknown number of"
  [ "$unavailable" != 0 ] || stop 12 "Slurm rejects the job: $output"
  say "note: none of the nodes that are available now can run this job ($output); $unavailable nodes are down, drained or reserved. \
If it does not start once they are back, cancel it and ask for less"
}

# Prints how many nodes, of the job's partition where it names one, take no jobs now. The signs behind a state: powered down, powering
# up, planned, and some CPUs allocated (sinfo(1), NODE STATE CODES).
unavailable_nodes() {
  local partition
  partition=$(sed -nE 's/^#SBATCH --partition=([A-Za-z0-9_.,+-]+)$/\1/p' "$run/job.sh")
  sinfo --all --noheader --Node ${partition:+--partition="$partition"} --format='%N %T' |
    awk '$2 !~ /^(idle|mixed|allocated|completing|planned)[~#+-]*$/ && !seen[$1]++ { count++ } END { print count + 0 }'
}
