# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
container=$!
while :; do
  signalled="" code=0
  wait "$container" || code=$?
  if [ -z "$signalled" ] || [ "$code" -le 128 ]; then break; fi
done
