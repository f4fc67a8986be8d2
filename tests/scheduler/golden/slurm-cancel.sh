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
# A number alone does not tell a job: after a crash a scheduler may give it to another one. The job's name does.
declare -A name_of=([12]=hello-0123456789 [40]=train-0123456789 )
mine=()
queue=$(squeue --all --noheader --user="$(id -un)" --format='%F %j') || give_up "$?"
while read -r job name; do
  [ -z "$job" ] || [ "${name_of[$job]-}" != "$name" ] || mine+=("$job")
done <<<"$queue"
[ "${#mine[@]}" = 0 ] || scancel "${mine[@]}"
}
main </dev/null
