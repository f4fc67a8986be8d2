# --- login/find_jobs.sh: print the numbers of the run's jobs.

# Add the job of this chunk to job_ids, by its link or by its name; fail if it has none.
find_job() {
  jobs=()
  if ! job_id=$(readlink -- "$run/id$chunk"); then
    # Even if no submission is recorded there may be a job: the folder may have been lost.
    if [ -e "$run/submitting$chunk" ]; then query_jobs_with_retries; else query_jobs; fi || unanswered
    [ "${#jobs[@]}" != 0 ] || return
    record_job "${jobs[@]}"
  fi
  job_ids+=${job_ids:+,}$job_id
}

job_ids=""
chunk=""
chunks=("")
chunk_size=0
whole=no
if find_job; then
  whole=yes
  # The later chunks of a large array are submitted in order.
  [ "$is_array" = no ] || choose_chunks
  for chunk in "${chunks[@]:1}"; do find_job || { whole=no && break; }; done
fi
# A run that has all its jobs gets no other one: it is cancelled like any run, and then has the file for that (login/cancel.sh).
if [ "$whole" = yes ] && [ "$marked" = yes ]; then rm -f -- "$run/cancelled"; fi
if [ "$scheduler" = htcondor ] && [ -z "$job_ids" ] && [ -e "$run/program.sh" ]; then
  # A job that arrives late does not see this folder; but the schedd reads its program here when it starts it.
  {
    printf '#!/bin/sh\necho "run %s was cancelled; nothing to do" >&2\nexit 1\n' "$run_id" | write "$run/program.sh"
    chmod 0755 "$run/program.sh"
  } || say "$run/program.sh cannot be written: a job that the schedd gets late would run"
fi
if [ -n "$job_ids" ]; then say "run $run_id has job $job_ids"; else say "run $run_id has no job, and will have none"; fi
answer "$job_ids" false
