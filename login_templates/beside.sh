# The program runs beside this shell, which passes signals on and tells the exit code afterwards.
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
