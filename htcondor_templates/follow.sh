# HTCondor: one condor_q for all of them, and of each run's event log the lines that tell a state.
run_ids=([= run_ids | words =])

section condor_q condor_q -nobatch -json -attributes [= attributes =] \
  -constraint 'member(ClusterId, {[= job_ids | join(", ") =]})'

events() {
  local run
  for run in "${run_ids[@]}"; do
    [ ! -r "$runs/$run/events.log" ] ||
      grep -aE '^[0-9]{3} \(|^[[:space:]]SlotName: |^[[:space:]]\([01]\) (Normal|Abnormal) termination' "$runs/$run/events.log"
  done
}
section events events
