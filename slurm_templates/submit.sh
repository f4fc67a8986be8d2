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
  check_job
}

[% include "slurm_templates/checks.sh" %]
[% if after %]

[% include "slurm_templates/after.sh" %]
[% endif %]

# Prints the job's id. The paths go as arguments, which no tokenizer touches; the rest stands in job.sh.
submit_job() {
  # In the folder's own name Slurm would fill in too: %j, %x.
  local output line logs='logs/[= log_name =]' patterns=${run//%/%%}
[% if in_parts %]
  local first=${part#.} options=() wait_for=[= '"$dependency"' if after else dependency | word =]
  if [ "$part_size" != 0 ]; then
    first=${first:-0}
    options+=(--job-name="$run_id$part" --comment="hpcdeploy:$run_id$part")
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

[% include "slurm_templates/asking.sh" %]

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
