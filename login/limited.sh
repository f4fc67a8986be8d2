# --- login/limited.sh: use no more of a command's output than $most bytes about these runs, and $most_in_all in all.

# limited BYTES COMMAND...: print the output of the command; return its exit status, or 111 if it printed more. Then none of the output
# is used: a missing row would look like a job that is gone.
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
  echo "error: $1: more than $most bytes about these runs, or more than $most_in_all in all, and so none of it is used; \
query fewer runs at once, or look at its output on the login node" >&2
  exit 13
}
