# --- login/job/retry.sh: the job requeues itself, only on the given exit codes ($retry_codes, empty: all but 0), at most $retry_max times.
retry() {
  local used=0 which=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  [ "$1" != 0 ] || return
  case " ${retry_codes:-$1} " in *" $1 "*) ;; *) return ;; esac
  [ ! -s "$run/tasks/$task.retries" ] || read -r used <"$run/tasks/$task.retries"
  if [ "$used" -ge "$retry_max" ]; then
    echo "exit code $1, and no retry is left of $retry_max" >&2
    return
  fi
  record "$task.retries" "$((used + 1))" || return
  echo "exit code $1: starting again, retry $((used + 1)) of $retry_max" >&2
  # Use the task's place in the array: the number of the last task is also that of the whole array, and would restart all tasks.
  if scontrol requeue "${which:-$SLURM_JOB_ID}"; then exit "$1"; fi
  echo "Slurm did not start the job again; its message is above" >&2
}
retry "$code"
