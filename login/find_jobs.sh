# --- login/find_jobs.sh: print the ids of the run's jobs.

# Find the job of this chunk by its link, or else by its name, and add it to job_ids; fail if the chunk has no job.
find_job() {
  jobs=()
  if ! job_id=$(readlink -- "$run/id$chunk"); then
    # Query the scheduler even if no submission is recorded, because the run's folder may have been lost.
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
complete=no
if find_job; then
  complete=yes
  # The later chunks of a large array are submitted in order.
  [ "$is_array" = no ] || choose_chunks
  for chunk in "${chunks[@]:1}"; do find_job || { complete=no && break; }; done
fi
# If the run has all its jobs, remove the file "cancelled" that login/revoke.sh wrote. hpcdeploy then cancels the jobs as usual, and
# login/cancel.sh writes the file again.
if [ "$complete" = yes ] && [ "$marked" = yes ]; then rm -f -- "$run/cancelled"; fi
if [ "$scheduler" = htcondor ] && [ -z "$job_ids" ] && [ -e "$run/program.sh" ]; then
  # The schedd may still accept a job from a request that is under way. It reads the job's program from this folder when it starts the job, so
  # replace the program by one that does nothing.
  {
    printf '#!/bin/sh\necho "run %s was cancelled; nothing to do" >&2\nexit 1\n' "$run_id" | write "$run/program.sh"
    chmod 0755 "$run/program.sh"
  } || say "$run/program.sh cannot be written: a job that the schedd gets late would run"
fi
if [ -n "$job_ids" ]; then say "run $run_id has job $job_ids"; else say "run $run_id has no job, and will have none"; fi
answer "$job_ids" false
