# --- login/job/wait.sh: wait for the container's exit code. A signal to this shell ends the wait but not the program, so wait again.
container=$!
while :; do
  signalled="" code=0
  wait "$container" || code=$?
  if [ -z "$signalled" ] || [ "$code" -le 128 ]; then break; fi
done
