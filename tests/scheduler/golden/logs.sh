#!/bin/bash
# Prints what tasks have written since we last looked. Written by hpcdeploy 0.1.0.

# Only bash can read what follows, and it starts from one known state of the shell (options, IFS, aliases, functions), whatever
# a profile has set. In POSIX mode no function hides a special builtin (Bash Reference Manual, 6.11); a backslash stops an alias.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# Functions that hide programs are removed after the setup, which may use them (known_state). The job's script calls these before.
\unset -f cat cd date hostname ln mv readlink rm sleep
\unalias -a
\shopt -u expand_aliases
IFS=$' \t\n'
known_state() {
  local name
  set +abefkmntuvxCEPT -hB +o pipefail +o posix
  shopt -u dotglob extglob failglob nocaseglob nocasematch nullglob globstar lastpipe xpg_echo extdebug execfail expand_aliases \
    inherit_errexit localvar_inherit localvar_unset cdable_vars cdspell autocd shift_verbose checkhash varredir_close 2>/dev/null
  IFS=$' \t\n'
  unset CDPATH GLOBIGNORE GREP_OPTIONS TAR_OPTIONS TMOUT 2>/dev/null
  trap - DEBUG ERR RETURN
  # A function that hides a builtin or a program is removed (cd, rm). Others stay, exported ones too: the job's setup may use them
  # (module). What a site puts before the scheduler's and Apptainer's commands stays as well: that is its way to call them.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Programs that are bash scripts (a site's sbatch) would get this script's options from these.
  export -n SHELLOPTS BASHOPTS
  return 0
}
# Without this line hpcdeploy knows that the script never began. A profile may have printed the beginning of a line.
printf '\nHPCDEPLOY begins\n' || true
main() {
# The cluster's setup. Site scripts expect none of -e, -u and pipefail, so these lines run without. What they leave of options,
# traps, functions that hide a program and the working directory is undone behind them.
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_failed() {
  # A command inside a function, or inside a file that a line reads, is not a line of setup.
  [ "${FUNCNAME[1]}" = main ] || return 0
  # shellcheck disable=SC2016  # the command as it stands
  case $2 in
    'eval "$setup_lines"'*) echo "error: bash cannot read the cluster's setup: its message is above" >&2 ;;
    *) echo "note: a line of the cluster's setup failed (exit status $1): ${2:0:200}" >&2 && return ;;
  esac
  trap - EXIT
  exit 10
}
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_ended() {
  trap - EXIT
  echo "error: the cluster's setup ended this script (exit status $1): a line of it, or a file that it reads, calls exit or return" >&2
  exit 10
}
setup_lines='module load apptainer/1.4'
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
[ "$PWD" = "$setup_folder" ] || cd -- "$setup_folder" || exit 10
unset setup_lines exit_trap setup_folder
set -u
run=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'/runs/train-0123456789
# TASK, and the byte from which on its output and its error stream are wanted
wanted='0 1 11
3 8 1'
section() {
  local name=$1
  shift
  printf 'HPCDEPLOY fence begin %s\n' "$name"
  "$@"
  printf '\nHPCDEPLOY fence end %s 0\n' "$name"
}

# One look at the sizes of all: a file that did not grow is not opened.
names=()
while read -r task _; do names+=("$task.out" "$task.err"); done <<<"$wanted"
declare -A size=()
while read -r bytes name; do size[$name]=$bytes; done < <(cd "$run/logs" && stat -L -c '%s %n' -- "${names[@]}" 2>/dev/null)

piece() { tail -c "+$2" -- "$1" | head -c 1048576; }
ended() {
  local task
  while read -r task _; do [ ! -e "$run/tasks/$task.end" ] || printf '%s\n' "$task"; done <<<"$wanted"
}
# Before the last look at what they wrote: who has noted its end writes no more.
section ended ended
while read -r task out err; do
  [ "${size[$task.out]:-0}" -lt "$out" ] || section "out.$task" piece "$run/logs/$task.out" "$out"
  [ "${size[$task.err]:-0}" -lt "$err" ] || section "err.$task" piece "$run/logs/$task.err" "$err"
done <<<"$wanted"
}
main </dev/null
