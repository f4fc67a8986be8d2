# --- login/slurm/lookup.sh: look for the run's job.

# Print the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, the first one first. Fail if Slurm cannot be
# queried.
look_up() {
  # Keep only the run's own lines: the user may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # Soon only the accounting knows a job that ended, if there is one. A job that never started may be unknown then; one that started has
  # made the link $run/id itself. The accounting is not queried by name, because the name may have changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Read lines of squeue or sacct; print "SUBMITTED JOB" for each job of this run that Slurm accepted at $1 or later. Slurm also keeps a
# record of a job that it rejects: FAILED, without a node (sacct: "None assigned"), because it never started (job_allocate in
# src/slurmctld/job_mgr.c). A job that was accepted and cannot start stays PENDING, or becomes CANCELLED: it is printed.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    belongs_to "|$rest" "$run_id$chunk" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Print how many seconds ago the time $1 was, at least an hour and at most 30 days: how far back the accounting is searched.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Test whether sacct failed because there is no accounting, and not because the accounting does not answer.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

cancel_job() { scancel "$1"; }
