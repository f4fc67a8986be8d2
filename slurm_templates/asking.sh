[% if in_parts %]
# Sets parts, and part_size, the number of tasks in each of several. MaxArraySize is one more than the highest number that a task may
# have, and max_array_tasks may allow fewer tasks (slurm.conf(5)). It is noted before the first part is submitted: every later call
# has to cut the run in the same places.
part_size=0
choose_parts() {
  local config first
  parts=("")
  if [ -s "$run/part-size" ]; then
    read -r part_size <"$run/part-size"
  else
    config=$(scontrol show config) || say "Slurm did not say how many tasks an array may have; trying it with one array"
    part_size=$(sed -nE 's/^MaxArraySize *= *([0-9]+).*/\1/p; s/^SchedulerParameters.*max_array_tasks=([0-9]+).*/\1/p' <<<"$config" |
      sort -n | head -n 1)
    [ "${part_size:=0}" -lt [= tasks =] ] || part_size=0
    printf '%s\n' "$part_size" | write "$run/part-size" ||
      die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was submitted"
    sync -- "$run/part-size" 2>/dev/null || true
  fi
  [ "$part_size" = 0 ] || for ((first = part_size; first < [= tasks =]; first += part_size)); do parts+=(".$first"); done
}

[% endif %]
[% include "slurm_templates/my_jobs.sh" %]

# Prints the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, the first one first. Fails where Slurm
# cannot be asked.
look_up() {
  # Only the run's own lines are held: this person may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # A job that ended is soon known to the accounting only, where there is one. A job that never started may then be known to
  # nobody: one that did has made the link $run/id itself. Accounting is not asked by name: the name may have changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Reads lines of squeue or sacct. Prints "SUBMITTED JOB" of each that is of this run's job, submitted at $1 or later, and accepted by
# Slurm. Of a job that it rejects Slurm keeps a record too: FAILED, with no node (sacct: "None assigned"), since it never started
# (job_allocate in src/slurmctld/job_mgr.c). A job that was accepted and cannot start stays PENDING, or becomes CANCELLED: it is printed.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    bears "|$rest" "$run_id$part" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Prints how many seconds ago the time $1 was, at least an hour and at most 30 days: so far back accounting is searched.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Whether sacct failed because there is nothing to ask, and not because nobody answers.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

withdraw() { scancel "$1"; }
