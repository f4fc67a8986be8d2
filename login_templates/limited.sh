# Passes on what a command prints, and ends with its exit status, or with 111 where that is more than $1 bytes. Nothing of such an
# output is used: a row that is missing would look like a job that is gone.
limited() {
  local most=$1
  shift
  "$@" | { head -c "$most" && [ "$(head -c 1 | wc -c)" -eq 0 ]; }
  local codes=("${PIPESTATUS[@]}")
  [ "${codes[1]}" = 0 ] || return 111
  return "${codes[0]}"
}
# Ends the script if $2, the exit status of `limited`, says that the answer of $1 is beyond the limit.
check_limit() {
  [ "$2" = 111 ] || return 0
  echo "error: $1: more than [= most =] bytes about these runs, or more than [= most_in_all =] in all, and so none of it is used; \
query fewer runs at once, or look at what it prints on the login node" >&2
  exit 13
}
