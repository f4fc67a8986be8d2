#!/bin/bash
# Cancels runs. Written by hpcdeploy 0.1.0.
main() {
set -u
# A job that this is called in, or a person's own settings, may have left variables that change what the scheduler's commands do,
# or that lead an MPI program to a server which is not its own.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
module load apptainer/1.4
runs=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'/runs
run_ids=(hello-0123456789 train-0123456789)
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
cancel it with 'condor_rm $1'" >&2
}
declare -A run_of=([12]=hello-0123456789 [40]=train-0123456789 )
numbers='member(ClusterId, {12, 40})'
ours="$numbers && "'member(HpcdeployRun, {"hello-0123456789", "train-0123456789"})'
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
return "$code"
}
main </dev/null
