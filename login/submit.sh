# --- login/submit.sh: submit the run exactly once, however often this script is run. docs/architecture.md explains each step.
chunks=("")
chunk_size=0
# A site limits the number of tasks in an array, so a large run is split into several arrays, called chunks. Each chunk has its own job, link
# and files. Their names end with $chunk: a dot and the number of the chunk's first task. It is empty for the first chunk, which usually is
# the only one.
[ "$is_array" = no ] || choose_chunks
chunk=""
job_ids=""

# End with the exit status $1. If earlier chunks are submitted already, use 13 instead (unknown), because the run is submitted in part.
stop() {
  local code=$1
  shift
  [ -z "$chunk" ] || { code=13 && set -- "$* (tasks 0 to $((${chunk#.} - 1)) are submitted)"; }
  die "$code" "$@"
}

# Test whether the scheduler lost the run's job: the scheduler answers, does not know the job, and no task has recorded anything. A slurmctld
# that crashes forgets the jobs of its last seconds, and reuses their ids (seen with Slurm 24.11).
is_forgotten() {
  [ ! -e "$run/cancelled" ] && [ -z "$(ls -A -- "$run/tasks")" ] && query_jobs && [ "${#jobs[@]}" = 0 ]
}

# End if the run was cancelled, and cancel the job $1 if there is one. login/revoke.sh first writes the file "cancelled", and then looks for a
# job. So a call that does not see this file before it submits sees it afterwards.
stop_if_cancelled() {
  [ -e "$run/cancelled" ] || return 0
  [ -z "${1-}" ] || { say "cancelling job $1" && cancel_job "$1" >&2; } || true
  die 15 "run $run_id was cancelled, and is not submitted any more; to run it after all, submit it as a new run"
}

cannot_write() { stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"; }

prepared=no
prepare() {
  local tree
  [ "$prepared" = no ] || return 0
  prepared=yes
  command -v "$submit_command" >/dev/null || stop 10 "$submit_command is not on the PATH of this machine, $HOSTNAME; set the \
cluster's host to its login node, or add a line that provides $submit_command (module load ...) to the cluster's setup"
  set_job_paths
  ensure_image
  [ "$has_uploads" = no ] || ensure_uploads
  ! declare -F test_image >/dev/null || test_image
  for tree in ${trees[@]+"${trees[@]}"}; do unpack "$tree"; done
  # A trap instead of "||", because a command before "||" would continue after a failure (bash(1), set -e).
  trap cannot_write EXIT
  write_job
}

# Submit this chunk, unless it is submitted already, and set job_id to the id of its job.
submit_chunk() {
  local code earlier=no
  if job_id=$(readlink -- "$run/id$chunk"); then
    [[ $arguments != *" again "* ]] || ! is_forgotten || stop 12 "$scheduler does not know this run's job $job_id, which never started: \
it was cancelled before that, or a crash of $scheduler lost it. To run it after all, submit it as a new run"
    return
  fi
  stop_if_cancelled
  jobs=()
  if [ -e "$run/submitting$chunk" ]; then
    earlier=yes
    say "an earlier call was interrupted while submitting; querying the scheduler"
    query_jobs_with_retries || die 13 "cannot query the scheduler whether it has run $run_id"
  elif [[ $arguments == *" again "* ]]; then
    query_jobs || die 13 "cannot query the scheduler whether it has run $run_id"
  fi
  if [ "${#jobs[@]}" != 0 ]; then
    record_job "${jobs[@]}"
    return
  fi

  prepare
  stop_if_cancelled
  trap cannot_write EXIT
  : >"$run/submit.err"
  [ -e "$run/submitting$chunk" ] || date +%s | write "$run/submitting$chunk"
  trap - EXIT
  sync -- "$run/submitting$chunk" "$run" 2>/dev/null || true

  # From here on a failed command does not end the script, because each exit must report what is known about the job.
  set +e
  job_id=$(submit_job 2>"$run/submit.err")
  code=$?
  cat -- "$run/submit.err" >&2
  if [ "$code" = 0 ]; then
    # The request of an earlier call may have arrived after all.
    [ "$earlier" = no ] || query_jobs
    [ "${#jobs[@]}" != 0 ] || jobs=("$job_id")
  # Query the scheduler before a failure is reported, because it may have accepted the job although its answer was lost.
  elif is_refusal "$run/submit.err"; then
    query_jobs || die 13 "the submission failed, and the scheduler could not be queried whether it accepted the job"
    if [ "${#jobs[@]}" = 0 ]; then
      rm -f -- "$run/submitting$chunk" "$run/unanswered$chunk"
      stop 12 "$scheduler rejected the job; its message is above"
    fi
  elif ! query_jobs_with_retries || [ "${#jobs[@]}" = 0 ]; then
    never_connected "$run/submit.err" || date +%s >"$run/unanswered$chunk"
    die 13 "$scheduler did not report whether it accepted the job, and does not show it now; its message is above"
  fi
  record_job "${jobs[@]}"
  set -e
  stop_if_cancelled "$job_id"
  already=false
}

already=true
for chunk in "${chunks[@]}"; do
  submit_chunk
  job_ids+=${job_ids:+,}$job_id
done
# hpcdeploy itself prints this from the answer, also after a lost connection.
[[ $arguments == *" bring "* ]] ||
  if "$already"; then say "run $run_id was submitted before"; else say "submitted as job $job_ids"; fi
answer "$job_ids" "$already"
