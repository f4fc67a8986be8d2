# --- login/slurm/submit.sh: submit a job to Slurm, and parse the output of sbatch.
write_job() {
  local next
  # If the path of a log contains a backslash, Slurm removes the backslash and replaces no % in the path (sbatch(1), FILENAME PATTERN).
  case $run in *\\*) die 10 "the cluster's root contains a backslash, and Slurm would lose the logs; set another one" ;; esac
  declare -f "${job_functions[@]}" | write "$run/functions.sh"
  write_files
  for ((next = 0; next < ${#after[@]}; next += 3)); do await "${after[@]:next:3}"; done
  [ -z "$mpi" ] || check_mpi
  check_job
}

# Submit the job and print its id. Paths are passed as options, because sbatch splits values of #SBATCH lines in job.sh at blanks.
submit_job() {
  # A % in the path of the folder is doubled, because Slurm would replace it too (%j, %x).
  local output line logs=logs/$log_name patterns=${run//%/%%} options=() job_arguments=() wait_for=$dependency
  [ "$is_array" = no ] || array_options || return
  [ -z "$wait_for" ] || options+=(--dependency="$wait_for")
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append ${options[@]+"${options[@]}"} \
    --output="$patterns/$logs.out" --error="$patterns/$logs.err" job.sh ${job_arguments[@]+"${job_arguments[@]}"}) || return
  # Search the line with the id, because some sites print their own messages even with --parsable. It is ID or ID;CLUSTER.
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)(\;[^[:space:]]+)?$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'sbatch printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Test whether the error of sbatch in the file $1 means that the job was rejected. After any other error slurmctld may have the job.
is_refusal() {
  local text
  text=$(<"$1")
  case $text in
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"printed no job id"*) return 1 ;;
    *"uthentication"* | *"essage receive"* | *"essage send"* | *"Transport"* | *"standby"* | *"temporarily"*) return 1 ;;
    *"error:"* | *"fatal:"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Test whether sbatch could not connect to any slurmctld, so that none can have the job.
never_connected() { grep -q 'connect failure' -- "$1"; }
