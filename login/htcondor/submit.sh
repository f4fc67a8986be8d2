# --- login/htcondor/submit.sh: submit a job to HTCondor, and understand condor_submit's answer.
write_job() {
  local file split=no
  work=${workdir:-$run/output}
  case $run$work in *\$\(* | *\"*) split=yes ;; *,*) [ "$commas_allowed" = yes ] || split=yes ;; esac
  [ "$split" = no ] || die 10 "the path $run or $work contains \$( or a double quote$or_a_comma, which a submit description cannot contain"
  write_files
  for file in program.sh job.sh inside.sh wait.sh node.sh remove.sh; do [ ! -e "$run/$file" ] || chmod 0755 "$run/$file"; done
  [ "$container" != apptainer ] || write_container_files
  # In one command instead of a loop: there may be many.
  [ -z "$task_folder" ] || (cd -- "$run/output" && seq 0 $((tasks - 1)) | xargs mkdir -p)
  [ "$has_inputs" = no ] || link_inputs
  [ "$sends_image" = no ] || use_own_copy
  write_submit_description
  [ "${#after[@]}" = 0 ] || write_dag
}

write_submit_description() {
  local macros=(run_folder "$run" work_folder "$work$task_folder")
  [ "$sends_image" = no ] || macros+=(image_file "$image")
  {
    printf '%s = %s\n' "${macros[@]}"
    # The follow script reads notes-begin: a task of this run whose program started has a record. A remap cannot contain these characters.
    case $notes_begin:$run in
      no:* | *[\;=\\]*) ;;
      *)
        : >"$run/notes-begin"
        printf '%s\n' "transfer_output_remaps = \".hpcdeploy-begun=$run/tasks/\$(Process).begun\""
        ;;
    esac
    submit_description
  } | write "$run/job.sub"
}

# Print the cluster id: the output of -terse is "12.0 - 12.9".
submit_job() {
  local output line file=job.sub
  [ "${#after[@]}" = 0 ] || file=job.dag.condor.sub
  output=$(cd "$run" && condor_submit -terse "$file") || {
    # condor_submit prints on standard output that it cannot get credentials.
    local code=$?
    printf '%s\n' "$output" >&2
    return "$code"
  }
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)\.[0-9]+\ -\ [0-9]+\.[0-9]+$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'condor_submit printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Test whether condor_submit's error in the file $1 is a definite refusal, before or without a connection to the schedd.
is_refusal() {
  local text
  text=$(<"$1")
  case $text in
    # Before it connects to the schedd: "Failed to process job credential requests", or where to log in.
    *"job credential requests"* | *"lease visit"*) return 0 ;;
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Test whether the schedd could not be reached, so that it cannot have the job.
never_connected() { grep -q 'ailed to connect' -- "$1"; }
