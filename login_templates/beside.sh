# The program runs beside this shell, which passes signals on and tells the exit code afterwards. HTCondor reads through pipes what a
# program writes, and what it has not read when the job ends is lost, up to 64 KiB (seen with 23.9 on a busy machine): so the
# job ends a second after its program.
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
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
