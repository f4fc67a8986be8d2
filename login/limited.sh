# --- login/limited.sh: limit the output of a command to $most bytes about these runs, and to $most_in_all bytes in total.

# limited BYTES COMMAND...: print the output of the command, and return its exit status, or 111 if it printed more than BYTES. After 111 the
# caller must not use the output, because a job whose row is missing would look as if it had left the queue.
limited() {
  local most=$1
  shift
  "$@" | { head -c "$most" && [ "$(head -c 1 | wc -c)" -eq 0 ]; }
  local codes=("${PIPESTATUS[@]}")
  [ "${codes[1]}" = 0 ] || return 111
  return "${codes[0]}"
}

# End the script if $2, an exit status of `limited`, means that the output of $1 exceeds the limit.
check_limit() {
  [ "$2" = 111 ] || return 0
  echo "error: $1: more than $most bytes about these runs, or more than $most_in_all bytes in total, so the output is not used; \
query fewer runs at once, or check what the command prints on the login node" >&2
  exit 13
}
