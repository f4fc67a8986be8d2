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
# A number alone does not tell a job: after a crash a scheduler may give it to another one. The job's name does.
[% if scheduler == "slurm" %]
declare -A name_of=([% for part in parts %][[= part.job_id =]]=[= part.name | word =] [% endfor %])
mine=()
queue=$(squeue --all --noheader --user="$(id -un)" --format='%F %j') || give_up "$?"
while read -r job name; do
  [ -z "$job" ] || [ "${name_of[$job]-}" != "$name" ] || mine+=("$job")
done <<<"$queue"
[ "${#mine[@]}" = 0 ] || scancel "${mine[@]}"
[% else %]
ours='member(ClusterId, {[= parts | map(attribute="job_id") | join(", ") =]}) &&
  member(HpcdeployRun, {[% for run in run_ids %]"[= run =]"[= ", " if not loop.last =][% endfor %]})'
# It fails too where there is nothing left to remove.
condor_rm -constraint "$ours" >&2 || {
  code=$?
  left=$(condor_q -nobatch -constraint "$ours && JobStatus =!= 3 && JobStatus =!= 4" -autoformat ClusterId) || give_up "$code"
  [ -z "$left" ] || give_up "$code"
}
[% endif %]
}
main </dev/null
