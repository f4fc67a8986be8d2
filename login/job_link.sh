# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network
# file systems too, and on a full disk (symlink(2)). The job of a later array chunk has a link with the chunk's name ($chunk).

# Make the link point to the first of the jobs "$@", unless it exists, and cancel all other ones: two calls may both have submitted if
# the locks of a file system hold on one machine only.
record_job() {
  local job
  ln -sT -- "$1" "$run/id$chunk" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$chunk") || { job_id=$1 && say "the job's number could not be recorded in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; cancelling the duplicate $job" && cancel_job "$job" >&2; } || true
  done
}

# Print the time (seconds since 1970) in the file $1; 0 if there is none: a crash may have left the file empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Set jobs to the scheduler's jobs with the run's name. A job from ten minutes or more before the first attempt belongs to an older run
# with the same id: daemons whose clocks differ by more than five minutes refuse to talk to each other (munge(7), TTL).
query_jobs() {
  local found since
  since=$(($(time_in "$run/submitting$chunk") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Query until the scheduler had time to show a job that it accepted just before the connection was cut. A request without an answer may
# arrive later.
query_jobs_with_retries() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$chunk"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    query_jobs || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}
