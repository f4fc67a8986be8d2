# How Slurm is spoken to: [= 'choose_parts, ' if in_parts =]write_job, submit_job, look_up, withdraw, refused, never_left.
write_job() {
  # Slurm drops each backslash of a log's path, its folder too, and then fills in no number (sbatch(1), FILENAME PATTERN).
  case $run in *\\*) die 10 "the cluster's root holds a backslash, and Slurm would lose the logs; set another one" ;; esac
  write "$run/job.sh" <<'[= end_of_job =]'
[= job_script =]
[= end_of_job =]
  write "$run/program.sh" <<'[= end_of_job =]'
[= program =]
[= end_of_job =]
[% if task_lines %]
  write "$run/parameters" <<'[= end_of_job =]'
[= task_lines =]
[= end_of_job =]
[% endif %]
[% if launched %]
  write "$run/rank.sh" <<'[= end_of_job =]'
[% include "slurm_templates/rank.sh" %]
[= end_of_job =]
[% endif %]
[% for other in after %]
  await [= other.kind =] [= other.run_id | word =] [= other.tasks =]
[% endfor %]
}
[% if after %]

[% include "slurm_templates/after.sh" %]
[% endif %]

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
# Prints the job's id. The paths go as arguments, which no tokenizer touches; the rest stands in job.sh.
submit_job() {
  # In the folder's own name Slurm would fill in too: %j, %x.
  local output line logs='logs/[= log_name =]' patterns=${run//%/%%}
[% if in_parts %]
  local first=${part#.} options=() wait_for=[= '"$dependency"' if after else dependency | word =]
  if [ "$part_size" != 0 ]; then
    first=${first:-0}
    options+=(--job-name="$run_id$part")
    options+=(--array="0-$((([= tasks =] - first < part_size ? [= tasks =] - first : part_size) - 1))[= '%' ~ throttle if throttle =]")
  fi
  if [ -n "$part" ]; then
    # sbatch counts every array from 0; the task itself gives its logs their names.
    logs="parts/$first-%a"
    mkdir -p -- "$run/parts" || return
[% if throttle %]
    # The throttle is each array's own; for it to be the run's, one part waits for the other.
    case $wait_for in *\?*) echo "fatal: a dependency with ? cannot be joined with that of a throttled run in parts" >&2 && return 1 ;; esac
    wait_for+=${wait_for:+,}afterany:${job_ids##*,}
[% endif %]
  fi
  [ -z "$wait_for" ] || options+=(--dependency="$wait_for")
[% endif %]
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append \
[% if in_parts %]
    "${options[@]}" \
[% elif after %]
    ${dependency:+"--dependency=$dependency"} \
[% endif %]
    --output="$patterns/$logs.out" --error="$patterns/$logs.err" job.sh[= ' "$part"' if in_parts =]) || return
  # Sites print words of their own, even with --parsable; the id stands alone, or before ;cluster.
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)(\;[^[:space:]]+)?$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'sbatch printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Prints the ids of the jobs that bear this run's name and were submitted at $1 (seconds since 1970) or later, the first
# one first. Fails where Slurm cannot be asked.
look_up() {
  local found when job
  export SLURM_TIME_FORMAT=%s
  found=$(squeue --noheader --states=all --user="$(id -un)" --name="$run_id$part" --format='%V|%F') || return
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

# Whether sbatch said a plain no. Whatever else it said, the controller may have taken the job all the same.
refused() {
  local words
  words=$(<"$1")
  case $words in
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"printed no job id"*) return 1 ;;
    *"uthentication"* | *"essage receive"* | *"essage send"* | *"Transport"* | *"standby"* | *"temporarily"*) return 1 ;;
    *"error:"* | *"fatal:"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Whether no controller could be connected to, so that none can have the job.
never_left() { grep -q 'connect failure' -- "$1"; }
