# --- login/job/retry.sh: requeue this job, at most $retry_max times, if its exit code is in $retry_codes. If $retry_codes is empty,
# every exit code except 0 leads to a requeue.
retry() {
  local used=0 which=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  [ "$1" != 0 ] || return
  case " ${retry_codes:-$1} " in *" $1 "*) ;; *) return ;; esac
  [ ! -s "$run/tasks/$task.retries" ] || read -r used <"$run/tasks/$task.retries"
  if [ "$used" -ge "$retry_max" ]; then
    echo "exit code $1, and all $retry_max retries are used" >&2
    return
  fi
  record "$task.retries" "$((used + 1))" || return
  echo "exit code $1: starting again, retry $((used + 1)) of $retry_max" >&2
  # Name a task as ARRAY_TASK, not by its own job id: the last task has the job id of the whole array, which would restart all tasks.
  if scontrol requeue "${which:-$SLURM_JOB_ID}"; then exit "$1"; fi
  echo "Slurm did not start the job again; its message is above" >&2
}
retry "$code"
