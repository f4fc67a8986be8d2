# --- login/htcondor/dag.sh: prepare a run that waits for other runs. Such a run is a DAG of one job (condor_submit_dag(1)). condor_submit_dag
# writes the submit description of DAGMan, which is a job on this machine. This job is submitted, and its id is the run's job id.
write_dag() {
  local output code=0 next
  command -v condor_submit_dag >/dev/null || die 10 "condor_submit_dag is not on this machine; a run that waits for another one (after) needs it"
  for ((next = 1; next < ${#after[@]}; next += 3)); do
    [ -L "$root/runs/${after[next]}/id" ] || die 12 "run ${after[next]}, which this one waits for, has no job on this cluster; submit it first"
  done
  output=$("$run/wait.sh" now 2>&1) || code=$?
  case $code in
    0 | 75) ;;
    1) die 12 "$output" ;;
    *) die 10 "$run/wait.sh, which DAGMan calls, ended with $code: $output" ;;
  esac
  # Check the job's submit description now, because HTCondor would reject an invalid one only when DAGMan submits the job.
  output=$(cd -- "$run" && condor_submit -dry-run /dev/null job.sub 2>&1 >/dev/null) || die 12 "condor_submit: $output"
  output=$(cd -- "$run" && condor_submit_dag -no_submit -update_submit -batch-name "$run_id" job.dag 2>&1) ||
    die 12 "condor_submit_dag: $output"
}
