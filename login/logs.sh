# --- login/logs.sh: print what tasks wrote since the last query, or their last lines.
# Each line of $wanted: a task, and the position of the first byte to print of its standard output and of its standard error (from 1 on).
# Instead of a position, lastN requests the last N lines.
set -u
run=$root/runs/$run_id
# Get all sizes at once, so that files without new output need not be opened.
names=()
while read -r task _; do names+=("$task.out" "$task.err"); done <<<"$wanted"
declare -A size=()
while read -r bytes name; do size[$name]=$bytes; done < <(cd "$run/logs" && stat -L -c '%s %n' -- "${names[@]}" 2>/dev/null)

piece() { tail -c "+$2" -- "$1" | head -c "$limit"; }
ended() {
  local task
  while read -r task _; do [ ! -e "$run/tasks/$task.end" ] || printf '%s\n' "$task"; done <<<"$wanted"
}
# Print the position (from 1 on) of the first byte of the last $2 lines in the first $3 bytes of the file $1. Later bytes belong to the next
# query. Only the end of the file is read.
first_byte() {
  local lines=$2 bytes=$3 window=65536 found
  while :; do
    [ "$window" -lt "$bytes" ] || window=$bytes
    found=$(tail -c "+$((bytes - window + 1))" -- "$1" 2>/dev/null | head -c "$window" | tail -n "$lines" | wc -c)
    [ "$found" -ge "$window" ] && [ "$window" -lt "$bytes" ] || break
    window=$((window * 8))
  done
  printf '%s' "$((bytes - found + 1))"
}
# Print the ended tasks before the output, so that the output of a task that is listed here is complete.
section ended ended
while read -r task out err; do
  case $out in last*)
    out=$(first_byte "$run/logs/$task.out" "${out#last}" "${size[$task.out]:-0}")
    err=$(first_byte "$run/logs/$task.err" "${err#last}" "${size[$task.err]:-0}")
    section "from.$task" printf '%s %s' "$out" "$err"
    ;;
  esac
  [ "${size[$task.out]:-0}" -lt "$out" ] || section "out.$task" piece "$run/logs/$task.out" "$out"
  [ "${size[$task.err]:-0}" -lt "$err" ] || section "err.$task" piece "$run/logs/$task.err" "$err"
done <<<"$wanted"
