# Prints the ids of the clusters that bear this run's name and were submitted at $1 (seconds since 1970) or later, the first
# one first. Fails where HTCondor cannot be asked.
look_up() {
  # Of a run that waits for others it is DAGMan's, and not the job that DAGMan submits.
  local found log=events.log ours="HpcdeployRun == \"$run_id\" && QDate >= $1 && DAGManJobId =?= undefined"
  [ ! -e "$run/job.dag" ] || log=job.dag.dagman.log
  # The schedd notes a submission in the job's own log: 000, or 035 where the procs are made later ("Job Event Log Codes").
  if [ -s "$run/$log" ]; then
    found=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$run/$log" | uniq)
    [ -z "$found" ] || { printf '%s\n' "$found" && return; }
  fi
  found=$(condor_q -nobatch -constraint "$ours" -autoformat QDate ClusterId) || return
  [ -n "$found" ] || found=$(left_queue "$1" "$ours") || found=$(left_queue "$1" "$ours") || return
  sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# The last ones come first: no need to read further back than the first attempt. It fails where the schedd puts a history file away
# in that moment ("Error opening history file"), and so is asked twice.
left_queue() { condor_history -since "EnteredCurrentStatus < $1" -constraint "$2" -autoformat QDate ClusterId; }

withdraw() { condor_rm "$1"; }
