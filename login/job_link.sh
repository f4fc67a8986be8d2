# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and
# never partly, also on network file systems and on a full disk (symlink(2)). A later array chunk has the link $run/id$chunk.

# Make the link to the first of the jobs "$@", unless the link exists, and cancel the other jobs. There are several jobs if two calls
# submitted at once, which is possible if the locks of a file system have effect on one machine only.
record_job() {
  local job
  ln -sT -- "$1" "$run/id$chunk" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$chunk") || { job_id=$1 && say "the job id could not be recorded in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; cancelling the duplicate $job" && cancel_job "$job" >&2; } || true
  done
}

# Print the time in the file $1, in seconds since 1970; 0 if there is no file, or if a crash left it empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Set jobs to the ids of the scheduler's jobs with the run's name. Jobs that were submitted more than ten minutes before the first attempt
# are ignored, because they belong to an older run with the same id. Ten minutes are enough for clocks that differ: Slurm's daemons reject
# messages if the clocks differ by more than five minutes (munge(7), TTL).
query_jobs() {
  local found since
  since=$(($(time_in "$run/submitting$chunk") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Query several times, because a scheduler may show a job only a few seconds after it accepted the job. If a submission had no answer in
# the last minute, query for longer, because the request may still reach the scheduler.
query_jobs_with_retries() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$chunk"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    query_jobs || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}
