# --- login/cancel.sh: record that runs are cancelled, and cancel their jobs (cancel_jobs).
set -u
runs=$root/runs
# Record the cancellation first, because nothing else shows that a task which never started was cancelled.
marked=()
for run in "${run_ids[@]}"; do
  [ ! -d "$runs/$run" ] || [ -e "$runs/$run/cancelled" ] || { : >"$runs/$run/cancelled" && marked+=("$runs/$run/cancelled"); }
done
# End with exit status $1 if the scheduler could not be queried. The runs continue, so remove the records of the cancellation.
give_up() {
  [ "${#marked[@]}" = 0 ] || rm -f -- "${marked[@]}"
  exit "$1"
}
# A job is cancelled only if it contains the run's id. A job id alone does not identify a job, because a scheduler may reuse it after a
# crash. If the job does not contain the run's id, its run is not reported as cancelled.
code=0
# stranger JOB RUN WHAT: report a job in the queue that has the job id of the run, but does not contain the run's id.
stranger() {
  local mark
  code=1
  for mark in ${marked[@]+"${marked[@]}"}; do [ "$mark" != "$runs/$2/cancelled" ] || rm -f -- "$mark"; done
  echo "job $1, the job id of run $2, is in the queue, but the job does not contain the run's id: $3. If it is the run's job all the same, \
cancel it with '$cancel_command $1'" >&2
}
# The runs with a job in the queue.
declare -A queued=()
# report_ended: print the runs without a job in the queue; they have ended. hpcdeploy does not report them as cancelled.
report_ended() {
  local run
  for run in "${run_ids[@]}"; do
    [ -n "${queued[$run]-}" ] || printf '\nHPCDEPLOY ended %s\n' "$run"
  done
}
