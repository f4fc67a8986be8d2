# How Slurm is spoken to: write_job, submit_job, look_up, refused.
write_job() {
  write "$run/job.sh" <<'[= end_of_job =]'
[= job_script =]
[= end_of_job =]
  write "$run/program.sh" <<'[= end_of_job =]'
[= program =]
[= end_of_job =]
}

# Prints the job's id. The paths go as arguments, which no tokenizer touches; the rest stands in job.sh.
submit_job() {
  local output line
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append \
    --output='logs/[= log_name =].out' --error='logs/[= log_name =].err' job.sh) || return
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

# Prints the id of the job that bears this run's name, or nothing. Fails where Slurm cannot be asked.
look_up() {
  local found
  if [ -s "$run/claim" ]; then
    cat -- "$run/claim"
    return
  fi
  found=$(squeue --noheader --states=all --user="$(id -un)" --name="$run_id" --format=%F) || return
  # A job that ended is known to the accounting only, where there is one.
  [ -n "$found" ] || found=$(sacct --noheader --allocations --parsable2 --format=JobID --name="$run_id" \
    --starttime=now-30days 2>/dev/null) || true
  read -r found _ <<<"$found" || true
  printf '%s' "${found%%_*}"
}

# Whether sbatch said a plain no. Whatever else it said, the controller may have taken the job all the same.
refused() {
  local words
  words=$(<"$1")
  case $words in
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"printed no job id"*) return 1 ;;
    *"error:"* | *"fatal:"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}
