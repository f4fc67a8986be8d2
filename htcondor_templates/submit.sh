# How HTCondor is spoken to: write_job, submit_job, look_up, refused.
write_job() {
  local work=[= workdir or '"$run/output"' =]
  case $run$work in
    *\$\(* | *\"*) die 10 "the path $run or $work holds \$( or a double quote, which a submit description cannot say" ;;
  esac
  write "$run/program.sh" <<'[= end_of_job =]'
[= program =]
[= end_of_job =]
  chmod 0755 "$run/program.sh"
[% if array and not workdir %]
  local task
  for ((task = 0; task < [= tasks =]; task++)); do mkdir -p "$run/output/$task"; done
[% endif %]
  {
    printf '%s = %s\n' run_folder "$run" image_file "$image" work_folder "$work[= '/\\$(Process)' if array and not workdir =]"
    cat <<'[= end_of_job =]'
[= job_script =]
[= end_of_job =]
  } | write "$run/job.sub"
}

# Prints the cluster id: the answer of -terse is "12.0 - 12.9".
submit_job() {
  local output line
  output=$(cd "$run" && condor_submit -terse job.sub) || return
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)\.[0-9]+\ -\ [0-9]+\.[0-9]+$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'condor_submit printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Prints the id of the cluster that bears this run's name, or nothing. Fails where HTCondor cannot be asked.
look_up() {
  local found line
  if [ -s "$run/events.log" ]; then
    while IFS= read -r line; do
      if [[ $line =~ ^000\ \(0*([0-9]+)\. ]]; then
        printf '%s' "${BASH_REMATCH[1]}"
        return
      fi
    done <"$run/events.log"
  fi
  found=$(condor_q -nobatch -constraint "HpcdeployRun == \"$run_id\"" -autoformat ClusterId) || return
  [ -n "$found" ] || found=$(condor_history -limit 1 -constraint "HpcdeployRun == \"$run_id\"" -autoformat ClusterId) || return
  read -r found _ <<<"$found" || true
  printf '%s' "$found"
}

# Whether condor_submit said a plain no, before or instead of reaching the schedd.
refused() {
  local words
  words=$(<"$1")
  case $words in
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}
