#!/bin/bash
# Tells where runs are: what the scheduler says, and what the runs' own folders say. Written by hpcdeploy 0.1.0.
# It changes nothing, and asks the scheduler once, whatever the number of runs.

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
# Prints what a command answers between two marked lines; the second tells its exit status.
section() {
  local name=$1 code=0
  shift
  printf 'HPCDEPLOY fence begin %s\n' "$name"
  "$@" || code=$?
  printf '\nHPCDEPLOY fence end %s %s\n' "$name" "$code"
}
runs=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'/runs

# HTCondor: one condor_q for all of them, and of each run's event log what tells where its tasks are.
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
  echo "error: $1: more than 3958784 bytes about these runs, or more than 268435456 in all, and so none of it is used; \
query fewer runs at once, or look at what it prints on the login node" >&2
  exit 13
}
run_ids=(hello-0123456789 train-0123456789)
# CLUSTER|RUN|TASKS|those whose end is known|0
asked='12|hello-0123456789|1|-|0
40|train-0123456789|100|-|0'

queue_answer=$(limited 3958784 condor_q -nobatch -json -attributes ClusterId,ProcId,JobStatus,HoldReason,HoldReasonCode,HoldReasonSubCode,RemoteHost,JobCurrentStartDate,NumJobStarts,LastRejMatchReason,JobUniverse,DAGManJobId,HpcdeployAfter,HpcdeployRun,TransferringInput \
  -constraint 'member(ClusterId, {12, 40}) || member(DAGManJobId, {12, 40})')
queue_code=$?
check_limit condor_q "$queue_code"
queue() { printf '%s' "$queue_answer" && return "$queue_code"; }
section condor_q queue

# Of each task what it went through since it last began, and nothing of one that is known to have ended. The lines of an event
# that count: where it runs, how it ended, why it was held or removed. A run that waits for others has the number of its DAGMan: its
# tasks are told under that number, though they are another job's, and DAGMan's own events as those of task -1.
events() {
  local run log logs=()
  for run in "${run_ids[@]}"; do
    for log in "$runs/$run/job.dag.dagman.log" "$runs/$run/events.log"; do [ ! -r "$log" ] || logs+=("$log"); done
  done
  [ "${#logs[@]}" -gt 0 ] || return 0
  printf '%s\n' "$asked" | awk '
    FILENAME == "-" {
      split($0, field, "|")
      number_of[field[2]] = field[1]
      count = field[4] == "-" ? 0 : split(field[4], part, ",")
      for (i = 1; i <= count; i++) {
        if (split(part[i], ends, "-") < 2) ends[2] = ends[1]
        for (task = ends[1] + 0; task <= ends[2] + 0; task++) over[field[1] + 0, task]
      }
      next
    }
    FNR == 1 {
      place = split(FILENAME, part, "/")
      job = number_of[part[place - 1]]
      dagman = part[place] ~ /dagman/
      if (dagman) waited[job]
    }
    /^[0-9][0-9][0-9] \(/ {
      split($2, number, /[(.)]/)
      if (dagman && number[2] + 0 != job) { wanted = 0; next }
      if (job in waited) {
        sub(/\([^)]*\)/, "(" job "." (dagman ? -1 : number[3]) ".000)")
        split($2, number, /[(.)]/)
      }
      key = (number[2] + 0) SUBSEP (number[3] + 0)
      code = $1
      wanted = !(key in over) && code ~ /^(000|001|004|005|009|010|011|012|013|022|023|024|035|036)$/
      if (wanted && !(key in text)) order[++tasks] = key
      if (wanted) text[key] = (code == "001" ? "" : text[key]) $0 "\n"
      next
    }
    !wanted { next }
    /^[ \t]SlotName: / || code == "009" && /^[ \t]/ || code == "012" && /^[ \t]Code [0-9]/ ||
    code == "005" && /^[ \t]\([01]\) (Normal|Abnormal) termination/ { text[key] = text[key] $0 "\n" }
    END { for (i = 1; i <= tasks; i++) printf "%s", text[order[i]] }' - "${logs[@]}"
}
told=$(limited 3958784 events)
check_limit "the event log" "$?"
section events printf '%s\n' "$told"

# Tasks that ended with 0 and have no note that their program began, of runs that leave one: RUN TASK never-began.
begins() {
  local run task
  printf '%s\n' "$asked" -- "$told" | awk '
    $0 == "--" { part++; next }
    !part { split($0, field, "|"); run[field[1] + 0] = field[2]; next }
    /^[0-9]/ { split($2, number, /[(.)]/) }
    /Normal termination .return value 0\)/ && number[3] + 0 >= 0 { print run[number[2] + 0], number[3] + 0 }' |
    while read -r run task; do
      [ ! -e "$runs/$run/notes-begin" ] || [ -e "$runs/$run/tasks/$task.begun" ] || echo "$run $task never-began"
    done
}
section records begins

# Runs with tasks that neither shows, since a log was deleted, or lies on a disk that was full: the schedd may remember how they
# ended. Tasks that HTCondor has still to make (035) are none of them, nor is what DAGMan (universe 7) has still to submit.
lost=$(printf '%s\n' "$asked" -- "$told" -- "$queue_answer" | awk '
  $0 == "--" { part++; next }
  !part {
    split($0, field, "|")
    job = field[1] + 0
    run[job] = field[2]
    open[job] = field[3]
    count = field[4] == "-" ? 0 : split(field[4], known, ",")
    for (i = 1; i <= count; i++) open[job] -= split(known[i], ends, "-") < 2 ? 1 : ends[2] - ends[1] + 1
  }
  part == 1 && /^[0-9]/ {
    split($2, number, /[(.)]/)
    job = number[2] + 0
    if ($1 == "035") later[job]
    else if ($1 == "036") open[job] = 0
  }
  part == 1 && (/^009 / || /^[ \t].* termination \((return value|signal) -?[0-9]+\)/) && number[3] + 0 >= 0 { open[job]-- }
  part == 2 && /^ *"(ClusterId|DAGManJobId)":/ { job = $2 + 0 }
  part == 2 && /^ *"HpcdeployRun":/ && index($2, "\"" run[job] "\"") == 1 { live[job]++ }
  part == 2 && /^ *"JobUniverse": *7/ { later[job] }
  END { for (job in run) if (open[job] > (job in later && live[job] ? open[job] : live[job])) printf "%s\"%s\"", comma++ ? ", " : "", run[job] }')
if [ "$queue_code" = 0 ] && [ -n "$lost" ]; then
  section condor_history condor_history -json -attributes ClusterId,DAGManJobId,ProcId,JobStatus,ExitBySignal,ExitCode,ExitSignal,RemoveReason,LastHoldReasonCode,LastRemoteHost,JobCurrentStartDate,EnteredCurrentStatus,NumJobStarts \
    -since 'EnteredCurrentStatus < 1789913600' -constraint "member(HpcdeployRun, {$lost})"
fi
}
main </dev/null
