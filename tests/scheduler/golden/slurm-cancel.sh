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
# A number alone does not tell a job: after a crash a scheduler may give it to another one. The run's id in the job does; a job that has the
# number without the run's id is left alone, and nobody is told that it was cancelled.
code=0
# stranger JOB RUN WHAT: what the job in the queue is, as far as it can be told.
stranger() {
  local mark
  code=1
  for mark in ${marked[@]+"${marked[@]}"}; do [ "$mark" != "$runs/$2/cancelled" ] || rm -f -- "$mark"; done
  echo "job $1, the number of run $2, is in the queue, but it does not have the run's id: $3. If it is the run's job all the same, \
cancel it with 'scancel $1'" >&2
}
# Prints this person's jobs, one a line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three are free texts. The
# arguments are options of squeue: which of the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Whether line $1, of squeue or sacct, is of the job $2 of a run. A job bears that name twice: as its name, which users and sites change
# (scontrol update JobName, a job_submit plugin), and in its comment. Earlier versions gave all arrays of a run one comment: the name
# tells them apart.
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
while IFS= read -r line; do
  IFS='|' read -r _ job _ _ rest <<<"$line"
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
