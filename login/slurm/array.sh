# --- login/slurm/array.sh: add the options of sbatch for an array, or for a chunk of a large array, to the variables of submit_job.
# shellcheck disable=SC2034
array_options() {
  local first=${chunk#.}
  job_arguments=("$chunk")
  if [ "$chunk_size" != 0 ]; then
    first=${first:-0}
    options+=(--job-name="$run_id$chunk" --comment="hpcdeploy:$run_id$chunk")
    options+=(--array="0-$(((tasks - first < chunk_size ? tasks - first : chunk_size) - 1))$array_throttle")
  fi
  [ -n "$chunk" ] || return 0
  # Slurm numbers the tasks of each chunk from 0, and names their logs accordingly. job.sh links them to the task's number in the run.
  logs="parts/$first-%a"
  mkdir -p -- "$run/parts" || return
  [ -n "$array_throttle" ] || return 0
  # A throttle applies to one array. So that it applies to the whole run, each chunk waits for the chunk before it.
  case $wait_for in *\?*) echo "fatal: a dependency with ? cannot be combined with a throttled run in several arrays" >&2 && return 1 ;; esac
  wait_for+=${wait_for:+,}afterany:${job_ids##*,}
}
