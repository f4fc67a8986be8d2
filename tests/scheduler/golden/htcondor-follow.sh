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

# HTCondor: one condor_q for all of them, and of each run's event log the lines that tell a state.
run_ids=(hello-0123456789 train-0123456789)

section condor_q condor_q -nobatch -json -attributes ClusterId,ProcId,JobStatus,HoldReason,HoldReasonCode,RemoteHost,JobCurrentStartDate \
  -constraint 'member(ClusterId, {12, 40})'

events() {
  local run
  for run in "${run_ids[@]}"; do
    [ ! -r "$runs/$run/events.log" ] ||
      grep -aE '^[0-9]{3} \(|^[[:space:]]SlotName: |^[[:space:]]\([01]\) (Normal|Abnormal) termination' "$runs/$run/events.log"
  done
}
section events events
}
main </dev/null
