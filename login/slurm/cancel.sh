# --- login/slurm/cancel.sh: cancel the jobs that have the job id of their run and contain the run's id.
# Collect the jobs first, to cancel each once: squeue prints a line for each running task of an array.
declare -A ours=() strange=()
queue=$(my_jobs --all) || give_up "$?"
while IFS='|' read -r _ job _ _ rest; do
  [ -n "$job" ] && [ -n "${name_of[$job]-}" ] || continue
  queued[${run_of[$job]}]=yes
  if belongs_to "|$rest" "${name_of[$job]}" || belongs_to "|$rest" "${run_of[$job]}"; then
    ours[$job]=yes
  else
    strange[$job]=$rest
  fi
done <<<"$queue"
for job in "${!strange[@]}"; do
  [ -n "${ours[$job]-}" ] || stranger "$job" "${run_of[$job]}" "its reason, comment and name are ${strange[$job]}"
done
report_ended
[ "${#ours[@]}" = 0 ] || scancel "${!ours[@]}" || code=$?
return "$code"
