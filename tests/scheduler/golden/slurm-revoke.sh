#!/bin/bash
# Finds the job of run sweep-0123456789, which nobody is sure of, or sees to it that it gets none. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash revoke.sh
# It needs bash, coreutils, flock (util-linux) and the scheduler's own commands, and changes nothing but the run's own folder.
#
# Exit status: 0 the job's number is told, or that there is none and will be none; 10 this machine is not as it should be;
#              13 nobody can say yet whether there is a job: run this again.

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
    # The status of a file is that of its last command, which may be a test.
    ". "* | "source "*) echo "note: a line of the cluster's setup ended with exit status $1: ${2:0:200}" >&2 && return ;;
    *) echo "error: a line of the cluster's setup failed (exit status $1): ${2:0:200}; correct it, or append '|| true' where that does not matter" >&2 ;;
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
set -euo pipefail
umask 077
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }

run_id=sweep-0123456789
root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
run=$root/runs/$run_id
cache=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/images'
tmp=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/tmp'
absolute() { case $2 in /*) ;; *) die 10 "the cluster's $1 is $2, which is no absolute path; set $1 in the cluster's settings" ;; esac; }
absolute root "$root"
absolute image-cache "$cache"
absolute tmp "$tmp"
case $root$tmp in *[$'\n']*) die 10 "the cluster's root or tmp holds a line break; set another one" ;; esac
case $cache in *[$'\n"']* | *\$\(*) die 10 "the cluster's image-cache holds a line break, a double quote or \$(; set another one" ;; esac
# A folder that is made here is nobody's code: where it lies in a project, git and hpcdeploy pass it over.
[ -e "$root" ] || { mkdir -p -- "$root" && printf '*\n' >"$root/.gitignore"; } || true

# Prints who owns $1, by name where the machine knows one.
owner_of() {
  local name
  name=$(stat -Lc %U -- "$1")
  [ "$name" != UNKNOWN ] || name=$(stat -Lc %u -- "$1")
  printf '%s' "$name"
}

# keep_private FOLDER...: what lies in the root is ours alone: scripts that jobs run, uploads, results. Where others may write to one of these folders
# that is taken from them; the root itself may be one that an administrator made.
keep_private() {
  local mode owner folder
  while read -r mode owner folder; do
    case $owner/$folder in
      "$EUID"/* | 0/"$root") ;;
      *) die 10 "$folder belongs to $(owner_of "$folder"), who could change what lies there; set root in the cluster's settings to a folder of your own" ;;
    esac
    [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod go-w -- "$folder" 2>/dev/null ||
      die 10 "others may write to $folder; run 'chmod go-w $folder', or set root in the cluster's settings to a folder of your own"
  done < <(stat -Lc '%f %u %n' -- "$@" 2>/dev/null)
}
keep_private "$root"
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$run" || die 10 "cannot make $run; set root in the cluster's settings to a folder that you may write to, and that has room"
keep_private "$root/runs" "$run"

# The mark comes first: a submission that is alive, here or on a machine whose locks are not seen here, finds it before it submits,
# or behind that, and then takes its job back (submit.sh).
marked=false
[ -e "$run/cancelled" ] || { : >"$run/cancelled" && marked=true; } ||
  die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was cancelled"
sync -- "$run/cancelled" "$run" 2>/dev/null || true
busy() {
  die 13 "a call that submits run $run_id is still at work after 30 s, pulling the image it may be: it will see that the run was \
cancelled, and submit nothing, or take its job back"
}
unanswered() {
  ! "$marked" || rm -f -- "$run/cancelled"
  die 13 "the scheduler could not be asked whether it has run $run_id; nothing was cancelled"
}

# Files appear whole or not at all, even where two calls write them at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# One call at a time. Children hold the lock too: a submission that outlives its script keeps the next call waiting.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
  flock --timeout 30 --conflict-exit-code 200 "$run_lock" || { [ $? != 200 ] || busy; false; } ||
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}

# Sets parts, and part_size, the number of tasks in each of several. MaxArraySize is one more than the highest number that a task may
# have, and max_array_tasks may allow fewer tasks (slurm.conf(5)). It is noted before the first part is submitted: every later call
# has to cut the run in the same places.
part_size=0
choose_parts() {
  local config first
  parts=("")
  if [ -s "$run/part-size" ]; then
    read -r part_size <"$run/part-size"
  else
    config=$(scontrol show config) || say "Slurm did not say how many tasks an array may have; trying it with one array"
    part_size=$(sed -nE 's/^MaxArraySize *= *([0-9]+).*/\1/p; s/^SchedulerParameters.*max_array_tasks=([0-9]+).*/\1/p' <<<"$config" |
      sort -n | head -n 1)
    [ "${part_size:=0}" -lt 3 ] || part_size=0
    printf '%s\n' "$part_size" | write "$run/part-size" ||
      die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was submitted"
    sync -- "$run/part-size" 2>/dev/null || true
  fi
  [ "$part_size" = 0 ] || for ((first = part_size; first < 3; first += part_size)); do parts+=(".$first"); done
}

# Prints this person's jobs, one a line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three are free texts. The
# arguments are options of squeue that choose the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Whether the line $1, of squeue or sacct, is of the job that a run calls $2. That name is the job's name, which users and sites change
# (scontrol update JobName, a job_submit plugin), and is in its comment. Earlier versions gave all arrays of a run one comment: there
# only the name tells them apart.
bears() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}

# Prints the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, the first one first. Fails where Slurm
# cannot be asked.
look_up() {
  # Only the run's own lines are held: this person may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # A job that ended is soon known to the accounting only, where there is one. A job that never started may then be known to
  # nobody: one that did has made the link $run/id itself. Accounting is not asked by name: the name may have changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Reads lines of squeue or sacct. Prints "SUBMITTED JOB" of each that is of this run's job, submitted at $1 or later, and accepted by
# Slurm. Of a job that it rejects Slurm keeps a record too: FAILED, with no node (sacct: "None assigned"), since it never started
# (job_allocate in src/slurmctld/job_mgr.c). A job that was accepted and cannot start stays PENDING, or becomes CANCELLED: it is printed.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    bears "|$rest" "$run_id$part" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Prints how many seconds ago the time $1 was, at least an hour and at most 30 days: so far back accounting is searched.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Whether sacct failed because there is nothing to ask, and not because nobody answers.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

withdraw() { scancel "$1"; }

json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# The one line that hpcdeploy reads; login shells may print what they like around it.
answer() {
  printf '\nHPCDEPLOY {"run": "%s", "job_id": "%s", "already": %s, "part": %s, "folder": %s}\n' "$run_id" "$1" "$2" "$part_size" "$(json "$run")" || true
}

# Which job is the run's is said by a link, $run/id -> NUMBER: it is made whole or not at all, by one only, on network file
# systems too, and on a full disk (symlink(2)). Makes it point to the first of the jobs "$@" unless it is there already, and
# takes back every other one: two calls may both have submitted where a file system's locks hold on one machine only.
settle() {
  local job
  ln -sT -- "$1" "$run/id$part" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$part") || { job_id=$1 && say "the job's number could not be noted in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; taking job $job back" && withdraw "$job" >&2; } || true
  done
}

# Reads a time (seconds since 1970) that a file holds, 0 where there is none: a crash may have left the file empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Sets jobs to those that bear the run's name. Daemons do not talk to each other when their clocks are five minutes apart
# (munge(7), TTL), so that one from well before the first attempt bears it by chance: somebody chose an old run's id again.
ask_scheduler() {
  local found since
  since=$(($(time_in "$run/submitting$part") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Asks until the scheduler had time to show a job that it took just before the connection was cut. A request that was not
# answered may be on its way for longer.
ask_patiently() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$part"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    ask_scheduler || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}

# Adds the job of this part to job_ids, by its link or by its name; fails where it has none.
find_job() {
  jobs=()
  if ! job_id=$(readlink -- "$run/id$part"); then
    # Without the mark of a submission the folder may have been lost, and the job be there all the same.
    if [ -e "$run/submitting$part" ]; then ask_patiently; else ask_scheduler; fi || unanswered
    [ "${#jobs[@]}" != 0 ] || return
    settle "${jobs[@]}"
  fi
  job_ids+=${job_ids:+,}$job_id
}

job_ids=""
part=""
part_size=0
whole=false
if find_job; then
  # A large array's later parts are submitted in order.
  choose_parts
  whole=true
  for part in "${parts[@]:1}"; do find_job || { whole=false && break; }; done
fi
# A run that has all its jobs gets no other: it is cancelled as any run is, and has the mark for that (cancel.sh).
if "$whole" && "$marked"; then rm -f -- "$run/cancelled"; fi
if [ -n "$job_ids" ]; then say "run $run_id has job $job_ids"; else say "run $run_id has no job, and will have none"; fi
answer "$job_ids" false
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main </dev/null
