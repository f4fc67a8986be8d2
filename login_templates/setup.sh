[% if setup %]
# The cluster's setup. Site scripts expect none of -e, -u and pipefail, so these lines run without. What they leave of options,
# traps, functions that hide a program and the working directory is undone behind them.
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_failed() {
  # A command inside a function, or inside a file that a line reads, is not a line of setup.
  [ "${FUNCNAME[1]}" = main ] || return 0
  # shellcheck disable=SC2016  # the command as it stands
  case $2 in
    'eval "$setup_lines"'*) echo "error: bash cannot read the cluster's setup: its message is above" >&2 ;;
[% if setup_must_succeed %]
    # The status of a file is that of its last command, which may be a test.
    ". "* | "source "*) echo "note: a line of the cluster's setup ended with exit status $1: ${2:0:200}" >&2 && return ;;
    *) echo "error: a line of the cluster's setup failed (exit status $1): ${2:0:200}; correct it, or append '|| true' where that does not matter" >&2 ;;
[% else %]
    *) echo "note: a line of the cluster's setup failed (exit status $1): ${2:0:200}" >&2 && return ;;
[% endif %]
  esac
  trap - EXIT
  [= setup_exit =]
}
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_ended() {
  trap - EXIT
  echo "error: the cluster's setup ended this script (exit status $1): a line of it, or a file that it reads, calls exit or return" >&2
  [= setup_exit =]
}
setup_lines=[= (setup | join("\n")) | word =]
exit_trap=$(trap -p EXIT)
setup_folder=$PWD
set +euET +o pipefail # with -E a trap for ERR would count what fails inside $( ) too
trap 'setup_failed "$?" "$BASH_COMMAND"' ERR
trap 'setup_ended "$?"' EXIT
# The last command succeeds: a status of the whole that is not 0 says that bash could not read it.
eval "$setup_lines"$'\n\n:'
trap - ERR EXIT
eval "$exit_trap"
known_state
[ "$PWD" = "$setup_folder" ] || cd -- "$setup_folder" || [= setup_exit =]
unset setup_lines exit_trap setup_folder
[% else %]
known_state
[% endif %]
