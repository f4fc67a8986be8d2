# --- login/htcondor/inputs.sh: link or copy the uploads into a folder that HTCondor transfers to each task. $inputs has two words for each:
# path and name. A folder is used so that names, which may contain commas, need not be in a list of HTCondor.
link_inputs() {
  local next name
  for ((next = 0; next < ${#inputs[@]}; next += 2)); do
    name=$run/inputs/${inputs[next + 1]}
    mkdir -p -- "${name%/*}"
    ln -f -- "$root/${inputs[next]}" "$name" 2>/dev/null || cp -f -- "$root/${inputs[next]}" "$name" ||
      die 10 "$root/${inputs[next]} could not be copied to $run/inputs; make room there (a full disk, or your quota), and submit again"
  done
}
