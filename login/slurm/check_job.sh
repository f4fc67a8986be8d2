# --- login/slurm/check_job.sh: check, before the job is submitted, that Slurm would not accept a job that it can never start.

# Slurm 24.11 rejects a job that no node of the cluster can run. 22.05 and 26.05 accept such a job, and it stays in the queue (seen). In
# these releases only --test-only reports it. It creates no job (job_allocate, will_run, in src/slurmctld/job_mgr.c).
check_job() {
  local release output unavailable array=()
  release=$(slurm_release sbatch)
  [ "$release" -lt 2411 ] || [ "$release" -ge 2605 ] || return 0
  [ "$is_array" = no ] || array=(--array=0)
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" ${array[@]+"${array[@]}"} job.sh 2>&1) && return
  output=${output//$'\n'/; }
  case $output in *"node configuration is not available"*) ;; *) return 0 ;; esac
  # Reject the job only if all nodes are available, because Slurm prints the same message if suitable nodes are down, drained or reserved
  # now (job_start_data in src/slurmctld/job_scheduler.c).
  unavailable=$(unavailable_nodes) || unavailable="an unknown number of"
  [ "$unavailable" != 0 ] || stop 12 "Slurm rejects the job: $output"
  say "note: none of the nodes that are available now can run this job ($output); $unavailable nodes are down, drained or reserved. \
If it does not start once they are back, cancel it and request less"
}

# Print how many nodes accept no jobs now: of the job's partition if job.sh names one, else of the cluster. A state may be followed by a
# sign: ~ powered down, # powering up, - planned, + jobs on the node are completing (sinfo(1), NODE STATE CODES).
unavailable_nodes() {
  local partition
  partition=$(sed -nE 's/^#SBATCH --partition=([A-Za-z0-9_.,+-]+)$/\1/p' "$run/job.sh")
  sinfo --all --noheader --Node ${partition:+--partition="$partition"} --format='%N %T' |
    awk '$2 !~ /^(idle|mixed|allocated|completing|planned)[~#+-]*$/ && !seen[$1]++ { count++ } END { print count + 0 }'
}
