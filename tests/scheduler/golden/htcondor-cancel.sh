#!/bin/bash
# Cancels runs. Written by hpcdeploy 0.1.0.

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
# A job that this is called in, or a person's own settings, may have left variables that change what the scheduler's commands do,
# or that lead an MPI program to a server which is not its own.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
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
runs=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'/runs
run_ids=(hello-0123456789 train-0123456789)
# Noted first: a task that never started leaves no other trace of having been cancelled.
marked=()
for run in "${run_ids[@]}"; do
  [ ! -d "$runs/$run" ] || [ -e "$runs/$run/cancelled" ] || { : >"$runs/$run/cancelled" && marked+=("$runs/$run/cancelled"); }
done
# Where nobody could be asked the runs go on.
give_up() {
  [ "${#marked[@]}" = 0 ] || rm -f -- "${marked[@]}"
  exit "$1"
}
# A number alone does not identify a job: after a crash a scheduler may give it to another one. The run's id in the job does. A job that
# has the number and not the run's id is left alone, and the run is not reported as cancelled.
code=0
# stranger JOB RUN WHAT: reports a job in the queue that has the run's number and not its id.
stranger() {
  local mark
  code=1
  for mark in ${marked[@]+"${marked[@]}"}; do [ "$mark" != "$runs/$2/cancelled" ] || rm -f -- "$mark"; done
  echo "job $1, the number of run $2, is in the queue, but it does not have the run's id: $3. If it is the run's job all the same, \
cancel it with 'condor_rm $1'" >&2
}
declare -A run_of=([12]=hello-0123456789 [40]=train-0123456789 )
numbers='member(ClusterId, {12, 40})'
ours="$numbers && "'member(HpcdeployRun, {"hello-0123456789", "train-0123456789"})'
# It fails too where there is nothing left to remove.
removed=0
condor_rm -constraint "$ours" >&2 || removed=$?
left=$(condor_q -nobatch -constraint "$numbers && JobStatus =!= 3 && JobStatus =!= 4" -autoformat ClusterId HpcdeployRun) || {
  [ "$removed" = 0 ] || give_up "$removed"
  return 1
}
while read -r job run; do
  [ -n "$job" ] || continue
  if [ "$run" = "${run_of[$job]-}" ]; then
    [ "$removed" = 0 ] || give_up "$removed"
    code=1
    echo "job $job of run $run is still in the queue; cancel it again" >&2
    continue
  fi
  stranger "$job" "${run_of[$job]-}" "its HpcdeployRun is $run"
done < <(sort -u <<<"$left")
return "$code"
}
main </dev/null
