# --- login/htcondor/inputs.sh: collect the uploads ($inputs: path and name of each) in a folder that HTCondor sends to each task, so that
# no name is in one of its lists.
link_inputs() {
  local next name
  for ((next = 0; next < ${#inputs[@]}; next += 2)); do
    name=$run/inputs/${inputs[next + 1]}
    mkdir -p -- "${name%/*}"
    ln -f -- "$root/${inputs[next]}" "$name" 2>/dev/null || cp -f -- "$root/${inputs[next]}" "$name" ||
      die 10 "$root/${inputs[next]} could not be copied to $run/inputs; make room there (a full disk, or your quota), and submit again"
  done
}
