# --- login/logs.sh: print what tasks wrote since the last query ($wanted: task, first byte of its output and of its error output).
set -u
run=$root/runs/$run_id
# Get all sizes at once: a file that did not grow is not opened.
names=()
while read -r task _; do names+=("$task.out" "$task.err"); done <<<"$wanted"
declare -A size=()
while read -r bytes name; do size[$name]=$bytes; done < <(cd "$run/logs" && stat -L -c '%s %n' -- "${names[@]}" 2>/dev/null)

piece() { tail -c "+$2" -- "$1" | head -c "$limit"; }
ended() {
  local task
  while read -r task _; do [ ! -e "$run/tasks/$task.end" ] || printf '%s\n' "$task"; done <<<"$wanted"
}
# Print the ended tasks before the output: a task that has recorded its end writes no more.
section ended ended
while read -r task out err; do
  [ "${size[$task.out]:-0}" -lt "$out" ] || section "out.$task" piece "$run/logs/$task.out" "$out"
  [ "${size[$task.err]:-0}" -lt "$err" ] || section "err.$task" piece "$run/logs/$task.err" "$err"
done <<<"$wanted"
