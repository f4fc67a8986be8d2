# --- login/htcondor/lookup.sh: find the run's job.

# Print the ids of the clusters with this run's name that were submitted at $1 (seconds since 1970) or later, in the order of
# submission. Fail if HTCondor cannot be queried.
look_up() {
  # The job of a run that waits for others is DAGMan, not the job that DAGMan submits.
  local found log=events.log ours="HpcdeployRun == \"$run_id\" && QDate >= $1 && DAGManJobId =?= undefined"
  [ ! -e "$run/job.dag" ] || log=job.dag.dagman.log
  # Look into the job's event log first: the schedd records a submission there, as event 000, or as 035 if the procs are created later ("Job
  # Event Log Codes").
  if [ -s "$run/$log" ]; then
    found=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$run/$log" | uniq)
    [ -z "$found" ] || { printf '%s\n' "$found" && return; }
  fi
  found=$(condor_q -nobatch -constraint "$ours" -autoformat QDate ClusterId) || return
  # If condor_history fails, it is called again, because it fails while the schedd rotates a history file ("Error opening history file").
  [ -n "$found" ] || found=$(left_queue "$1" "$ours") || found=$(left_queue "$1" "$ours") || return
  sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Print the run's jobs in the history. It is read backwards in time, and -since ends the reading at the time $1.
left_queue() { condor_history -since "EnteredCurrentStatus < $1" -constraint "$2" -autoformat QDate ClusterId; }

cancel_job() { condor_rm "$1"; }
