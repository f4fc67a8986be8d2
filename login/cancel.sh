# --- login/cancel.sh: record that runs are cancelled, and cancel their jobs (cancel_jobs).
set -u
runs=$root/runs
# Record it first: of a task that never started nothing else shows that it was cancelled.
marked=()
for run in "${run_ids[@]}"; do
  [ ! -d "$runs/$run" ] || [ -e "$runs/$run/cancelled" ] || { : >"$runs/$run/cancelled" && marked+=("$runs/$run/cancelled"); }
done
# If the scheduler could not be queried, the runs continue.
give_up() {
  [ "${#marked[@]}" = 0 ] || rm -f -- "${marked[@]}"
  exit "$1"
}
# A number alone does not identify a job: after a crash a scheduler may give it to another job. The run's id in the job does. A job
# with the number but without the run's id is not cancelled, and its run is not reported as cancelled.
code=0
# stranger JOB RUN WHAT: report a job in the queue that has the run's number but not its id.
stranger() {
  local mark
  code=1
  for mark in ${marked[@]+"${marked[@]}"}; do [ "$mark" != "$runs/$2/cancelled" ] || rm -f -- "$mark"; done
  echo "job $1, the number of run $2, is in the queue, but it does not have the run's id: $3. If it is the run's job all the same, \
cancel it with '$cancel_command $1'" >&2
}
