# --- login/job/beside.sh: run the program as a child process, forward signals to it, and set code to its exit code.
"$@" &
child=$!
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "kill -$signal $child 2>/dev/null" "$signal"
done
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do
  code=0
  wait "$child" || code=$?
done
