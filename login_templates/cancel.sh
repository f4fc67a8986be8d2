#!/bin/bash
# Cancels runs. Written by hpcdeploy [= version =].
main() {
set -u
[% include "login_templates/variables.sh" %]
[% for line in setup %]
[= line =]
[% endfor %]
runs=[= root =]/runs
run_ids=([= run_ids | words =])
# Noted first: a task that never started leaves no other trace of having been cancelled.
for run in "${run_ids[@]}"; do [ ! -d "$runs/$run" ] || : >"$runs/$run/cancelled"; done
# A number alone does not tell a job: after a crash a scheduler may give it to another one. The job's name does.
[% if scheduler == "slurm" %]
declare -A name_of=([% for part in parts %][[= part.job_id =]]=[= part.name | word =] [% endfor %])
mine=()
queue=$(squeue --noheader --user="$(id -un)" --format='%F %j') || exit
while read -r job name; do
  [ -z "$job" ] || [ "${name_of[$job]-}" != "$name" ] || mine+=("$job")
done <<<"$queue"
[ "${#mine[@]}" = 0 ] || scancel "${mine[@]}"
[% else %]
condor_rm -constraint 'member(ClusterId, {[= parts | map(attribute="job_id") | join(", ") =]}) &&
  member(HpcdeployRun, {[% for run in run_ids %]"[= run =]"[= ", " if not loop.last =][% endfor %]})' >&2
[% endif %]
}
main </dev/null
