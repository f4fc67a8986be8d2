# --- login/list.sh: list the files that match $patterns in the working folder of a run, and with $with_logs also its logs.
set -u
shopt -s nullglob
export LC_ALL=C
run=$root/runs/$run_id
work=${work:-$run/output}
if [ ! -d "$run" ]; then
  echo "error: there is no folder $run" >&2
  return 1
fi

# Read names of files and folders in the folder $1; print kind (!: not readable), size, time, mode, name and link target of each file.
describe() {
  (cd -- "$1" && xargs -0 -r bash -c 'exec find "$@" ! -type d \( -type f ! -readable -printf ! -o -printf %y \) -printf " %s %T@ %m %p\0%l\0"' find)
}

# Print the names in the working folder that match the patterns; the shell expands the patterns.
matching() {
  local pattern path IFS=
  cd -- "$work" || return
  for pattern in ${patterns[@]+"${patterns[@]}"}; do
    # shellcheck disable=SC2086
    for path in $pattern; do printf '%s\0' "$path"; done
  done
}

if [ -d "$work" ]; then matching | section output describe "$work"; else section output describe "$run" </dev/null; fi
[ "$with_logs" = no ] || printf '.\0' | section logs describe "$run/logs"
printf '\nHPCDEPLOY {"output": %s, "logs": %s}\n' "$(json "$work")" "$(json "$run/logs")"
