# --- login/htcondor/cancel.sh: remove the jobs that have the job id of their run and contain the run's id.
printf -v numbers '%s, ' "${!run_of[@]}"
printf -v names '"%s", ' "${run_ids[@]}"
numbers="member(ClusterId, {${numbers%, }})"
unfinished="$numbers && JobStatus =!= 3 && JobStatus =!= 4"
if waiting=$(condor_q -nobatch -constraint "$unfinished" -autoformat ClusterId); then
  while read -r job; do [ -z "$job" ] || queued[${run_of[$job]}]=yes; done <<<"$waiting"
  report_ended
fi
# A failure of condor_rm is an error only if jobs are left, because condor_rm also fails if there is no job to remove.
removed=0
condor_rm -constraint "$numbers && member(HpcdeployRun, {${names%, }})" >&2 || removed=$?
left=$(condor_q -nobatch -constraint "$unfinished" -autoformat ClusterId HpcdeployRun) || {
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
