# --- login/htcondor/submit.sh: submit a job to HTCondor, and parse the output of condor_submit.
write_job() {
  local file split=no
  work=${workdir:-$run/output}
  case $run$work in *\$\(* | *\"*) split=yes ;; *,*) [ "$commas_allowed" = yes ] || split=yes ;; esac
  [ "$split" = no ] || die 10 "the path $run or $work contains \$( or a double quote$or_a_comma, which a submit description cannot contain"
  write_files
  for file in program.sh job.sh inside.sh wait.sh node.sh remove.sh; do [ ! -e "$run/$file" ] || chmod 0755 "$run/$file"; done
  [ "$container" != apptainer ] || write_container_files
  # Make the tasks' folders with few commands instead of a loop, because there may be thousands.
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
    # The file notes-begin tells the follow script that each task of this run records the start of its program (TASK.begun). This needs a remap,
    # which cannot contain the characters ; = \ in a path.
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

# Submit the job and print its cluster id. The output of condor_submit -terse is "12.0 - 12.9".
submit_job() {
  local output line file=job.sub
  [ "${#after[@]}" = 0 ] || file=job.dag.condor.sub
  output=$(cd "$run" && condor_submit -terse "$file") || {
    # Repeat standard output as error output, because condor_submit reports on it that it cannot get credentials.
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

# Test whether the error of condor_submit in the file $1 means that the job was rejected. After any other error the schedd may have the job.
is_refusal() {
  local text
  text=$(<"$1")
  case $text in
    # These errors occur before condor_submit connects to the schedd: "Failed to process job credential requests", "please visit ..." to log in.
    *"job credential requests"* | *"lease visit"*) return 0 ;;
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Test whether the schedd could not be reached, so that it cannot have the job.
never_connected() { grep -q 'ailed to connect' -- "$1"; }
