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
# Prints the ids of the jobs that bear this run's name and were submitted at $1 (seconds since 1970) or later, the first
# one first. Fails where Slurm cannot be asked.
look_up() {
  local found when job
  export SLURM_TIME_FORMAT=%s
  found=$(squeue --all --noheader --states=all --user="$(id -un)" --name="$run_id$part" --format='%V|%F') || return
  # A job that ended is soon known to the accounting only, where there is one. A job that never started may then be known to
  # nobody: one that did has made the link $run/id itself.
  [ -n "$found" ] || found=$(sacct --noheader --allocations --parsable2 --format=Submit,JobID --name="$run_id$part" \
    --starttime=now-30days 2>/dev/null) || no_accounting || return
  while IFS='|' read -r when job; do
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done <<<"$found" | sort -n | cut -d ' ' -f 2 | uniq
}

# Whether sacct failed because there is nothing to ask, and not because nobody answers.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

withdraw() { scancel "$1"; }
