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

# Slurm: one squeue for all of them; sacct only for tasks of which neither squeue nor their own notes tell the end.
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
# Without the second, squeue cuts the numbers of an array's tasks off after 64 characters (squeue(1)).
export SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0
# JOB|RUN|TASKS|those whose end is known|the number that the run gives the first
asked='12|hello-0123456789|1|-|0
40|train-0123456789|100|-|0'

# The controller picks out this person's jobs, awk below those asked for: squeue --jobs would ask the controller the same, look
# through the whole list for each job, and of one job that the controller has forgotten it makes an error. The free texts come last.
# Its answer is not held, since this person may have any number of other jobs.
ask_queue() { squeue --all --noheader --states=all --user="$(id -un)" --Format='ArrayJobID:|,ArrayTaskID:|,State:|,NodeList:|,StartTime:|,RestartCnt:|,Reason:|,Comment:|,Name:|'; }

# What awk needs to read task numbers as Slurm writes them: 7, [3,5-9%2], 0-98:2, N/A. A job has no more than size[job] tasks:
# an answer that names a million of them, or a step of 0, costs no more time than an honest one.
read_spans='
  function spread(text, job, mark,    part, count, i, ends, last, step, number) {
    gsub(/[][]|%.*/, "", text)
    if (text == "N/A" || text == "") text = "0"
    count = text == "-" ? 0 : split(text, part, ",")
    for (i = 1; i <= count; i++) {
      step = part[i] ~ /:/ ? substr(part[i], index(part[i], ":") + 1) + 0 : 1
      if (step < 1) step = 1
      sub(/:.*/, "", part[i])
      if (split(part[i], ends, "-") < 2) ends[2] = ends[1]
      last = ends[2] + 0 < size[job] ? ends[2] + 0 : size[job] - 1
      for (number = ends[1] + 0; number <= last; number += step) seen[job, number] = mark
    }
  }'

# Sorts squeue's answer: "q LINE" is what is new in it, "o JOB|RUN|TASK|MARK|ITS NUMBER IN THE RUN" a task that is not alive there; the mark tells
# whether squeue shows its end. What is known to have ended is left out.
sort_queue() {
  { printf '%s\n' "$asked" "" && limited 268435456 ask_queue; } | awk -F'|' "$read_spans"'
  !listed && NF { named[$1] = $2 ($5 ? "." $5 : ""); of[$1] = $2; job[++runs] = $1; run[runs] = $2; tasks[runs] = $3; first[runs] = $5; size[$1] = $3; spread($4, $1, "over") }
  !NF { listed = 1 }
  listed && NF {
    # A job without the run in its comment or its name has the number of one that a crash of the controller lost, or that was long ago.
    if (!($1 in named)) next
    # Each field ends with a bar. A row that was cut off may be the job of this run: it goes on as one that cannot be read.
    if (NF < 10) { print "q " $1 "|?" $0; next }
    if (end = index($0, "|hpcdeploy:" named[$1] "|")) $0 = substr($0, 1, end)
    else if (end = index($0, "|hpcdeploy:" of[$1] "|")) $0 = substr($0, 1, end)
    else if (NF > 8 && $(NF - 1) == named[$1]) $0 = $1 "|" $2 "|" $3 "|" $4 "|" $5 "|" $6 "|" $7 "|"
    else next
    if ($2 ~ /^[0-9]+$/ || $2 == "N/A") { if (seen[$1, $2 + 0] == "over") next }
    print "q " $0
    spread($2, $1, $3 ~ /^(COMPLETED|FAILED|CANCELLED|TIMEOUT|DEADLINE|OUT_OF_MEMORY|NODE_FAIL|BOOT_FAIL|PREEMPTED|REVOKED)/ ? "ended" : "alive")
  }
  END {
    for (i = 1; i <= runs; i++) for (task = 0; task < tasks[i]; task++)
      if (seen[job[i], task] !~ /alive|over/) print "o " job[i] "|" run[i] "|" task "|" seen[job[i], task] "|" first[i] + task
  }'
  return "${PIPESTATUS[0]}"
}
sorted=$(limited 3958784 sort_queue)
queue_code=$?
check_limit squeue "$queue_code"
queue_new() { sed -n 's/^q //p' <<<"$sorted" && return "$queue_code"; }
section squeue queue_new

# What these tasks noted themselves: RUN TASK start|end TIME ...
declare -A noted=()
notes="" unexplained="" last=""
while IFS='|' read -r job run _ mark task; do
  if [ "$run" != "$last" ]; then
    last=$run
    # Looking through the folder first makes NFS look again too.
    for file in "$runs/$run/tasks/"*; do [ -e "$file" ] && noted[${file##*/tasks/}]=$run; done
    [ ! -e "$runs/$run/cancelled" ] || notes+="$run - cancelled 0"$'\n'
  fi
  for kind in start end; do
    [ "${noted[$task.$kind]-}" = "$run" ] || continue
    IFS= read -r text <"$runs/$run/tasks/$task.$kind" && notes+="$run $task $kind $text"$'\n'
  done
  [[ $mark == ended && ${noted[$task.end]-} == "$run" ]] || [[ ,$unexplained == *,$job ]] || unexplained+=${unexplained:+,}$job
done < <(sed -n 's/^o //p' <<<"$sorted")
section records printf '%s' "$notes"

# Prints the release of Slurm's command $1 as a number, 2405 for 24.05; 0 where it cannot be told.
slurm_release() {
  local version
  version=$("$1" --version 2>/dev/null) || version=""
  if [[ $version =~ ([0-9]+)\.([0-9]+) ]]; then
    echo "$((10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}))"
  else
    echo 0
  fi
}
if [ -n "$unexplained" ]; then
  # Of a task that is alive, or known to have ended, nothing need be said.
  ask_accounting() {
    { printf '%s\n' "$sorted" "" &&
      limited 268435456 sacct --noheader --allocations --parsable2 --format='JobID,State,ExitCode,NodeList,Start,End,Comment,JobName' --jobs="$unexplained"; } |
      awk -F'|' '
        !listed && sub(/^o /, "") { open[$3 == 0 ? $1 : $1 "_" $3]; open[$1 "_" $3] }
        !NF { listed = 1 }
        listed && ($1 in open || $1 ~ /\[/)'
    return "${PIPESTATUS[0]}"
  }
  accounting=$(limited 3958784 ask_accounting)
  accounting_code=$?
  check_limit sacct "$accounting_code"
  # Whether there is something to ask, and it only does not answer now.
  accounting_is_kept() { command -v sacct >/dev/null && case $(sacct --noheader 2>&1) in *"is disabled"*) return 1 ;; esac; }
  accounting_new() { [ -z "$accounting" ] || printf '%s\n' "$accounting"; return "$accounting_code"; }
  if [ "$accounting_code" = 0 ] || accounting_is_kept; then section sacct accounting_new; fi
  # Before 25.11 sacct subtracts 128 from exit codes of 128 and more (CHANGELOG of 25.11), so that 9 may be 137. Its JSON has them
  # as they are. A job that ended well, by a signal or without a node has no such code.
  if [ "$accounting_code" = 0 ] && [ "$(slurm_release sacct)" -lt 2511 ]; then
    altered=$(accounting_new | awk -F'|' '
      $3 ~ /:0$/ && ($3 != "0:0" || $2 == "FAILED") && $4 != "None assigned" && ++count <= 1000 { printf "%s%s", comma, $1; comma = "," }')
    [ -z "$altered" ] || section sacct_json sacct --json --allocations --jobs="$altered"
  fi
fi
}
main </dev/null
