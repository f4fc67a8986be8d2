# --- login/slurm/lookup.sh: find the run's job.

# Print the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, in the order of submission. Fail if Slurm cannot
# be queried.
look_up() {
  # Only the lines of this run are stored, because the user may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # Query sacct too, because squeue soon forgets a job that ended. Without accounting, a job that was cancelled before it started may not be
  # found; a job that started has made the link $run/id itself. sacct is not queried by name, because the name may have been changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Read lines of squeue or sacct; print "SUBMITTED JOB" for each job of this run that Slurm accepted at $1 or later. Jobs that are FAILED and
# have no node (sacct: "None assigned") are not printed, because Slurm records rejected jobs in this way (job_allocate in
# src/slurmctld/job_mgr.c). An accepted job that cannot start stays PENDING, or becomes CANCELLED.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    belongs_to "|$rest" "$run_id$chunk" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Print for how many seconds into the past sacct is queried: since the time $1, but at least an hour and at most 30 days.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Test whether sacct failed because the site has no accounting, and not because slurmdbd does not answer.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

cancel_job() { scancel "$1"; }
