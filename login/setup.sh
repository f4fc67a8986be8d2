# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect
# them. Afterwards restore options, traps and the working directory, and remove functions that hide a program.
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_failed() {
  # Ignore failures inside a function, or inside a file that a setup line sources: only the setup lines themselves are checked.
  [ "${FUNCNAME[1]}" = main ] || return 0
  # shellcheck disable=SC2016  # the text of the command
  case $setup_must_succeed:$2 in
    *:'eval "$setup_lines"'*) echo "error: bash cannot read the cluster's setup: its message is above" >&2 ;;
    # A sourced file may end with a test that fails, so its exit status is only reported.
    yes:". "* | yes:"source "*) echo "note: a line of the cluster's setup ended with exit status $1: ${2:0:200}" >&2 && return ;;
    yes:*) echo "error: a line of the cluster's setup failed (exit status $1): ${2:0:200}; correct it, or append '|| true' if that does not matter" >&2 ;;
    *) echo "note: a line of the cluster's setup failed (exit status $1): ${2:0:200}" >&2 && return ;;
  esac
  trap - EXIT
  "${setup_exit[@]}"
}
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_ended() {
  trap - EXIT
  echo "error: the cluster's setup ended this script (exit status $1): a line of it, or a file that it reads, calls exit or return" >&2
  "${setup_exit[@]}"
}
exit_trap=$(trap -p EXIT)
setup_folder=$PWD
set +euET +o pipefail # +E: otherwise the trap for ERR would also run for failures inside $( )
trap 'setup_failed "$?" "$BASH_COMMAND"' ERR
trap 'setup_ended "$?"' EXIT
# The last command (:) always succeeds. So if eval fails, bash could not parse the setup lines.
eval "$setup_lines"$'\n\n:'
trap - ERR EXIT
eval "$exit_trap"
known_state
[ "$PWD" = "$setup_folder" ] || cd -- "$setup_folder" || "${setup_exit[@]}"
unset setup_lines exit_trap setup_folder
