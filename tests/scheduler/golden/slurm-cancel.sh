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
cancel it with 'scancel $1'" >&2
}
# Prints this person's jobs, one a line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three are free texts. The
# arguments are options of squeue that choose the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Whether the line $1, of squeue or sacct, is of the job that a run calls $2. That name is the job's name, which users and sites change
# (scontrol update JobName, a job_submit plugin), and is in its comment. Earlier versions gave all arrays of a run one comment: there
# only the name tells them apart.
bears() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}

declare -A name_of=([12]=hello-0123456789 [40]=train-0123456789 )
declare -A run_of=([12]=hello-0123456789 [40]=train-0123456789 )
mine=()
queue=$(my_jobs --all) || give_up "$?"
while IFS='|' read -r _ job _ _ rest; do
  [ -n "$job" ] && [ -n "${name_of[$job]-}" ] || continue
  if bears "|$rest" "${name_of[$job]}" || bears "|$rest" "${run_of[$job]}"; then
    mine+=("$job")
  else
    stranger "$job" "${run_of[$job]}" "its reason, comment and name are $rest"
  fi
done <<<"$queue"
[ "${#mine[@]}" = 0 ] || scancel "${mine[@]}" || code=$?
return "$code"
}
main </dev/null
