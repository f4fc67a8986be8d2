container=$!
# A signal ends the wait, not the program: wait again, else its exit code would be the signal's.
while :; do
  signalled="" code=0
  wait "$container" || code=$?
  if [ -z "$signalled" ] || [ "$code" -le 128 ]; then break; fi
done
