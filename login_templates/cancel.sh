#!/bin/bash
# Cancels runs. Written by hpcdeploy [= version =].
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/variables.sh" %]
[% include "login_templates/setup.sh" %]
set -u
runs=[= root =]/runs
run_ids=([= run_ids | words =])
# Noted first: a task that never started leaves no other trace of having been cancelled.
marked=()
for run in "${run_ids[@]}"; do
  [ ! -d "$runs/$run" ] || [ -e "$runs/$run/cancelled" ] || { : >"$runs/$run/cancelled" && marked+=("$runs/$run/cancelled"); }
done
# Where nobody could be asked the runs go on.
give_up() {
  [ "${#marked[@]}" = 0 ] || rm -f -- "${marked[@]}"
  exit "$1"
}
# A number alone does not identify a job: after a crash a scheduler may give it to another one. The run's id in the job does. A job that
# has the number and not the run's id is left alone, and the run is not reported as cancelled.
code=0
# stranger JOB RUN WHAT: reports a job in the queue that has the run's number and not its id.
stranger() {
  local mark
  code=1
  for mark in ${marked[@]+"${marked[@]}"}; do [ "$mark" != "$runs/$2/cancelled" ] || rm -f -- "$mark"; done
  echo "job $1, the number of run $2, is in the queue, but it does not have the run's id: $3. If it is the run's job all the same, \
cancel it with '[= "scancel" if scheduler == "slurm" else "condor_rm" =] $1'" >&2
}
[% if scheduler == "slurm" %]
[% include "slurm_templates/my_jobs.sh" %]

declare -A name_of=([% for part in parts %][[= part.job_id =]]=[= part.name | word =] [% endfor %])
declare -A run_of=([% for run_id, part in jobs %][[= part.job_id =]]=[= run_id | word =] [% endfor %])
# Each job once: of an array squeue prints a line for each task that runs.
declare -A mine=() strange=()
queue=$(my_jobs --all) || give_up "$?"
while IFS='|' read -r _ job _ _ rest; do
  [ -n "$job" ] && [ -n "${name_of[$job]-}" ] || continue
  if bears "|$rest" "${name_of[$job]}" || bears "|$rest" "${run_of[$job]}"; then
    mine[$job]=yes
  else
    strange[$job]=$rest
  fi
done <<<"$queue"
for job in "${!strange[@]}"; do
  [ -n "${mine[$job]-}" ] || stranger "$job" "${run_of[$job]}" "its reason, comment and name are ${strange[$job]}"
done
[ "${#mine[@]}" = 0 ] || scancel "${!mine[@]}" || code=$?
[% else %]
declare -A run_of=([% for run_id, part in jobs %][[= part.job_id =]]=[= run_id | word =] [% endfor %])
numbers='member(ClusterId, {[= parts | map(attribute="job_id") | join(", ") =]})'
ours="$numbers && "'member(HpcdeployRun, {[% for run in run_ids %]"[= run =]"[= ", " if not loop.last =][% endfor %]})'
# It fails too where there is nothing left to remove.
removed=0
condor_rm -constraint "$ours" >&2 || removed=$?
left=$(condor_q -nobatch -constraint "$numbers && JobStatus =!= 3 && JobStatus =!= 4" -autoformat ClusterId HpcdeployRun) || {
  [ "$removed" = 0 ] || give_up "$removed"
  return 1
}
while read -r job run; do
  [ -n "$job" ] || continue
  if [ "$run" = "${run_of[$job]-}" ]; then
    [ "$removed" = 0 ] || give_up "$removed"
    code=1
    echo "job $job of run $run is still in the queue; cancel it again" >&2
    continue
  fi
  stranger "$job" "${run_of[$job]-}" "its HpcdeployRun is $run"
done < <(sort -u <<<"$left")
[% endif %]
return "$code"
}
main </dev/null
