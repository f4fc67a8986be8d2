#!/bin/bash
# Tells where runs are: what the scheduler says, and what the runs' own folders say. Written by hpcdeploy 0.1.0.
# It changes nothing, and asks the scheduler once, whatever the number of runs.
main() {
set -u
# Prints what a command answers between two marked lines; the second tells its exit status.
section() {
  local name=$1 code=0
  shift
  printf 'HPCDEPLOY fence begin %s\n' "$name"
  "$@" || code=$?
  printf '\nHPCDEPLOY fence end %s %s\n' "$name" "$code"
}
for name in "${!SLURM_@}" "${!SQUEUE_@}" "${!SACCT_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
module load apptainer/1.4
runs=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'/runs

# Slurm: one squeue for all of them; sacct only for those that squeue no longer shows as alive.
export SLURM_TIME_FORMAT=%s
jobs=(12 40)
run_ids=(hello-0123456789 train-0123456789)

queue() { squeue --noheader --states=all --user="$(id -un)" --format='%F|%K|%T|%N|%S|%r'; }
queue_answer=$(queue)
queue_code=$?
queue_again() { printf '%s\n' "$queue_answer" && return "$queue_code"; }
section squeue queue_again

declare -A alive=()
while IFS='|' read -r job _ state _; do
  case $state in PENDING | RUNNING | CONFIGURING | COMPLETING | SUSPENDED) alive[$job]=1 ;; esac
done <<<"$queue_answer"
asked=""
for job in "${jobs[@]}"; do [ -n "${alive[$job]-}" ] || asked+=${asked:+,}$job; done
[ -z "$asked" ] || section sacct sacct --noheader --allocations --parsable2 --format='JobID,State,ExitCode,NodeList,Start,End' --jobs="$asked"

# What each task noted itself: RUN TASK start|end TIME ...
records() {
  local run file text
  for run in "${run_ids[@]}"; do
    [ ! -e "$runs/$run/cancelled" ] || printf '%s - cancelled 0\n' "$run"
    for file in "$runs/$run"/tasks/*.start "$runs/$run"/tasks/*.end; do
      [ -e "$file" ] || continue
      IFS= read -r text <"$file"
      file=${file##*/}
      printf '%s %s %s %s\n' "$run" "${file%.*}" "${file##*.}" "$text"
    done
  done
}
section records records
}
main </dev/null
