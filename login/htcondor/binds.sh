# --- login/htcondor/binds.sh: write the functions that the job needs, and the binds of the container. $binds has three words for each bind:
# source, destination, and rw or ro. Paths are expanded here, because HTCondor gives a job none of the login node's variables. --mount is used
# because, unlike --bind, it accepts every path: its fields are quoted as in CSV (apptainer exec --help).
write_container_files() {
  local next lines="" option
  for ((next = 0; next < ${#binds[@]}; next += 3)); do
    option=""
    [ "${binds[next + 2]}" = rw ] || option=,ro
    lines+="type=bind,$(field source "${binds[next]}"),$(field destination "${binds[next + 1]}")$option"$'\n'
  done
  declare -f "${job_functions[@]}" | write "$run/functions.sh"
  printf '%s' "$lines" | write "$run/binds"
}
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
