#!/bin/bash
# Submits run hello-0123456789 to slurm. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
# Run it as often as you like: the run is submitted once, and every later call says so. With the word "again" behind it, it
# asks the scheduler for the run's job first, even where the run's folder knows of no earlier call: for a folder that was lost.
# hpcdeploy says "bring": it brings what is missing, and no person need be told.
#
# Exit status: 0 submitted, now or earlier; 10 this machine is not as it should be; 11 the image could not be had;
#              12 the scheduler refused; 13 nobody can say yet whether the scheduler took the job: run this again;
#              14 a file is to be brought here first: which, and where to, is said; 15 the run was cancelled.

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
asked_to=" $* "
# A cut connection must not end this between the scheduler's yes and our note of it.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
# A login shell runs ~/.bash_logout in its exit: under -e a command that fails there, as Debian's does without a terminal, would
# end it with that command's status instead of ours.
die() { local code=$1; shift; say "error: $*"; trap - EXIT; set +e; exit "$code"; }

run_id=hello-0123456789
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
mkdir -p -- "$cache" "$tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run, $cache and $tmp; set root in the cluster's settings to a folder that you may write to, and that has room"
keep_private "$root/runs" "$run"

# Files appear whole or not at all, even where two calls write them at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# One call at a time. Children hold the lock too: a submission that outlives its script keeps the next call waiting.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
  flock "$run_lock" ||
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}

# Who may have written a file. Needs bash and coreutils only, and works on network file systems: it looks at owners and modes. An ACL that
# lets others write shows in the mode as well, as the bits of the group (acl(5), "Correspondence Between ACL Entries And File Permission Bits").
image_cache_owners=()

# Whether the user number $1 is this person, root, or named by image-cache-owners.
trusted() {
  local name
  case $1 in "$EUID" | 0) return 0 ;; esac
  for name in ${image_cache_owners[@]+"${image_cache_owners[@]}"}; do
    if [ "$name" = "$1" ] || [ "$(id -u -- "$name" 2>/dev/null)" = "$1" ]; then return 0; fi
  done
  return 1
}

# Whether $1 is a folder of ours, and no link, to which nobody else can write.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Whether anybody but us and root can have written the file $1 or put another one in its place: by the owner and mode of the file, and of
# each folder and link on the way to it. In a folder with the sticky bit nobody removes or renames what others own (rename(2), EPERM); but
# a file of ours may get a second name there, where fs.protected_hardlinks is 0 (proc_sys_fs(5)), so a file with several names counts.
others_can_change() {
  local rest=$1 name here mode owner names target paths parts number shared links=0
  while :; do
    case $rest/ in */../*) return 0 ;; esac
    paths=(/) here=""
    IFS=/ read -r -d '' -a parts <<<"$rest" || true
    for name in "${parts[@]}"; do
      name=${name%$'\n'}
      case $name in "" | .) ;; *) here+=/$name && paths+=("$here") ;; esac
    done
    number=0 target="" shared=""
    while read -r mode owner names; do
      case $owner in "$EUID" | 0) ;; *) return 0 ;; esac
      mode=$((16#$mode))
      case $((mode & 0170000)) in
        $((0040000))) ;;
        *) [ -z "$shared" ] || [ "$names" = 1 ] || return 0 ;;
      esac
      case $((mode & 0170000)) in
        $((0120000)))
          target=$(readlink -- "${paths[number]}") && [ $((links += 1)) -le 40 ] || return 0
          case $target in /*) ;; *) target=${paths[number]%/*}/$target ;; esac
          rest=$target${here#"${paths[number]}"}
          break
          ;;
        $((0040000)))
          shared=""
          [ $((mode & 022)) = 0 ] || { [ $((mode & 01000)) != 0 ] && shared=1; } || return 0
          ;;
        *) [ $((mode & 022)) = 0 ] || return 0 ;;
      esac
      number=$((number + 1))
    done < <(stat -c '%f %u %h' -- "${paths[@]}" 2>/dev/null)
    [ -n "$target" ] || break
  done
  [ "$number" != "${#paths[@]}" ]
}

# Prints the folder in which this person's own root remembers images that were compared with their sha256; fails where others can write to it.
remembered_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Compares the image $1 with its sha256 $2; if it is another one, image_fault says so.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 is not the one that its name says: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). Remove it, or \
set image-cache to a folder of your own"
  return 1
}

# Puts a copy in place of the image $1, which is ours and to which others may write: one who has it open could change it while a job runs.
take_back() {
  local part
  { part=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$part"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$part" "$2" && chmod --reference="$1" -- "$part" && chmod go-w -- "$part" && mv -f -- "$part" "$1" && return
  rm -f -- "$part"
  image_fault="others may write to the image $1, and it is not the one that its name says; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: whether the image is one to run; if not, image_fault says why. It has to belong to somebody whom we trust,
# as its folder has, and nobody else may write to it. What others can have put there is compared with its sha256. That is remembered by what
# changes with every change of the file: device, inode, size, and the times of the last change of content and inode. A file that was changed
# in the last two seconds is not remembered: clocks of file systems tick, and a second change in one tick leaves no trace.
check_image() {
  local file=$1 path mode owner now known="" sign changed altered
  image_fault=""
  for path in "${1%/*}" "$file"; do
    read -r mode owner < <(stat -Lc '%f %u' -- "$path") || { image_fault="cannot look at $path" && return 1; }
    if ! trusted "$owner"; then
      image_fault="$path belongs to $(owner_of "$path"), who could have put any image there; expected you or root. If you trust \
them, set image-cache-owners = [\"$(owner_of "$path")\"] in the cluster's settings, else set image-cache to a folder of your own"
      return 1
    fi
    mode=$((16#$mode))
    if [ $((mode & 0170000)) != $((0100000)) ]; then
      [ $((mode & 02)) = 0 ] || [ $((mode & 01000)) != 0 ] || {
        image_fault="everybody may write to the folder of images $path; run 'chmod o-w $path', or set image-cache to another folder"
        return 1
      }
    elif [ $((mode & 022)) != 0 ]; then
      [ "$owner" = "$EUID" ] || {
        image_fault="others may write to the image $path; let its owner $(owner_of "$path") remove it, or set image-cache to another folder"
        return 1
      }
      take_back "$path" "$2" || return
    fi
  done
  others_can_change "$file" || return 0
  sign=$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file") || { image_fault="cannot look at $file" && return 1; }
  known=$(remembered_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$sign"$'\n'*) return 0 ;; esac
  fi
  now=$(date +%s)
  is_the_image "$file" "$2" || return
  [ "$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file")" = "$sign" ] || { image_fault="the image $file changed while it was read" && return 1; }
  [ -n "$known" ] || return 0
  read -r _ _ _ changed altered <<<"$sign"
  if [ "${changed%.*}" -le $((now - 2)) ] && [ "${altered%.*}" -le $((now - 2)) ]; then
    { printf '%s\n' "$sign" >>"$known/$2"; } 2>/dev/null || true
  fi
}

# The image, once for everybody: in $cache under its own sha256.
sha256=abababababababababababababababababababababababababababababababab
image=$cache/$sha256.sif

ensure_image() {
  printf '%s\n' "$image" | write "$run/image" || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
    return 0
  fi
  say "the image is pulled by the job: $image"
}

# How Slurm is spoken to: write_job, submit_job, look_up, withdraw, refused, never_left.
write_job() {
  # Slurm drops each backslash of a log's path, its folder too, and then fills in no number (sbatch(1), FILENAME PATTERN).
  case $run in *\\*) die 10 "the cluster's root holds a backslash, and Slurm would lose the logs; set another one" ;; esac
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
#SBATCH --job-name=hello-0123456789
#SBATCH --comment=hpcdeploy:hello-0123456789
#SBATCH --nodes=1

# Run hello-0123456789, written by hpcdeploy 0.1.0. sbatch --chdir put us into the run's folder.

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
set -u
run=$PWD
task=${SLURM_ARRAY_TASK_ID:-0}
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

# Files appear whole or not at all.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# A run that was cancelled while nobody was sure of it may still get a job, late.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run hello-0123456789 was cancelled; nothing to do" >&2
  # So that Slurm says it too.
  scancel "$job" && sleep 60
  exit 1
fi

# One run, one job: only one can make the link that says which. Should a second job of this run ever start, it goes.
ln -sT "$job" "$run/id" 2>/dev/null
owner=$(readlink "$run/id")
if [ -z "$owner" ]; then
  echo "job $job: cannot make a link in $run on $(hostname) (a full disk, a quota, a folder that is not there?)" >&2
  exit 1
fi
if [ "$owner" != "$job" ]; then
  echo "job $job: run hello-0123456789 belongs to job $owner; nothing to do" >&2
  exit 0
fi

# After a requeue this is the same run once more: what was noted of its end is true no longer.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # A node that was given up for lost may come back after the job was started again elsewhere: no end of that one is ours to note.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

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
  finish 1
}
# shellcheck disable=SC2317,SC2329  # the trap calls it
setup_ended() {
  trap - EXIT
  echo "error: the cluster's setup ended this script (exit status $1): a line of it, or a file that it reads, calls exit or return" >&2
  finish 1
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
[ "$PWD" = "$setup_folder" ] || cd -- "$setup_folder" || finish 1
unset setup_lines exit_trap setup_folder
set -u
# Nothing of the login shell's own Python may shine through into the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then takes itself
# for a process of a step and aborts. srun sets them anew.
unset SLURM_STEP_ID SLURM_STEPID
# srun inherits --export=NONE from sbatch and would start the container with no environment at all (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

image=$(cat "$run/image") || finish 1
# Where temporary files go may be said for another machine than this node: by a profile of the login node, for example.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
# Apptainer's temporary files and cache: on the node's own disk, outside $HOME, gone with the job.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
export SINGULARITY_TMPDIR="$scratch" SINGULARITY_CACHEDIR="$scratch/cache"

# Prints who owns $1, by name where the machine knows one.
owner_of() {
  local name
  name=$(stat -Lc %U -- "$1")
  [ "$name" != UNKNOWN ] || name=$(stat -Lc %u -- "$1")
  printf '%s' "$name"
}

# Who may have written a file. Needs bash and coreutils only, and works on network file systems: it looks at owners and modes. An ACL that
# lets others write shows in the mode as well, as the bits of the group (acl(5), "Correspondence Between ACL Entries And File Permission Bits").
image_cache_owners=()

# Whether the user number $1 is this person, root, or named by image-cache-owners.
trusted() {
  local name
  case $1 in "$EUID" | 0) return 0 ;; esac
  for name in ${image_cache_owners[@]+"${image_cache_owners[@]}"}; do
    if [ "$name" = "$1" ] || [ "$(id -u -- "$name" 2>/dev/null)" = "$1" ]; then return 0; fi
  done
  return 1
}

# Whether $1 is a folder of ours, and no link, to which nobody else can write.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Whether anybody but us and root can have written the file $1 or put another one in its place: by the owner and mode of the file, and of
# each folder and link on the way to it. In a folder with the sticky bit nobody removes or renames what others own (rename(2), EPERM); but
# a file of ours may get a second name there, where fs.protected_hardlinks is 0 (proc_sys_fs(5)), so a file with several names counts.
others_can_change() {
  local rest=$1 name here mode owner names target paths parts number shared links=0
  while :; do
    case $rest/ in */../*) return 0 ;; esac
    paths=(/) here=""
    IFS=/ read -r -d '' -a parts <<<"$rest" || true
    for name in "${parts[@]}"; do
      name=${name%$'\n'}
      case $name in "" | .) ;; *) here+=/$name && paths+=("$here") ;; esac
    done
    number=0 target="" shared=""
    while read -r mode owner names; do
      case $owner in "$EUID" | 0) ;; *) return 0 ;; esac
      mode=$((16#$mode))
      case $((mode & 0170000)) in
        $((0040000))) ;;
        *) [ -z "$shared" ] || [ "$names" = 1 ] || return 0 ;;
      esac
      case $((mode & 0170000)) in
        $((0120000)))
          target=$(readlink -- "${paths[number]}") && [ $((links += 1)) -le 40 ] || return 0
          case $target in /*) ;; *) target=${paths[number]%/*}/$target ;; esac
          rest=$target${here#"${paths[number]}"}
          break
          ;;
        $((0040000)))
          shared=""
          [ $((mode & 022)) = 0 ] || { [ $((mode & 01000)) != 0 ] && shared=1; } || return 0
          ;;
        *) [ $((mode & 022)) = 0 ] || return 0 ;;
      esac
      number=$((number + 1))
    done < <(stat -c '%f %u %h' -- "${paths[@]}" 2>/dev/null)
    [ -n "$target" ] || break
  done
  [ "$number" != "${#paths[@]}" ]
}

# Prints the folder in which this person's own root remembers images that were compared with their sha256; fails where others can write to it.
remembered_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Compares the image $1 with its sha256 $2; if it is another one, image_fault says so.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 is not the one that its name says: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). Remove it, or \
set image-cache to a folder of your own"
  return 1
}

# Puts a copy in place of the image $1, which is ours and to which others may write: one who has it open could change it while a job runs.
take_back() {
  local part
  { part=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$part"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$part" "$2" && chmod --reference="$1" -- "$part" && chmod go-w -- "$part" && mv -f -- "$part" "$1" && return
  rm -f -- "$part"
  image_fault="others may write to the image $1, and it is not the one that its name says; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: whether the image is one to run; if not, image_fault says why. It has to belong to somebody whom we trust,
# as its folder has, and nobody else may write to it. What others can have put there is compared with its sha256. That is remembered by what
# changes with every change of the file: device, inode, size, and the times of the last change of content and inode. A file that was changed
# in the last two seconds is not remembered: clocks of file systems tick, and a second change in one tick leaves no trace.
check_image() {
  local file=$1 path mode owner now known="" sign changed altered
  image_fault=""
  for path in "${1%/*}" "$file"; do
    read -r mode owner < <(stat -Lc '%f %u' -- "$path") || { image_fault="cannot look at $path" && return 1; }
    if ! trusted "$owner"; then
      image_fault="$path belongs to $(owner_of "$path"), who could have put any image there; expected you or root. If you trust \
them, set image-cache-owners = [\"$(owner_of "$path")\"] in the cluster's settings, else set image-cache to a folder of your own"
      return 1
    fi
    mode=$((16#$mode))
    if [ $((mode & 0170000)) != $((0100000)) ]; then
      [ $((mode & 02)) = 0 ] || [ $((mode & 01000)) != 0 ] || {
        image_fault="everybody may write to the folder of images $path; run 'chmod o-w $path', or set image-cache to another folder"
        return 1
      }
    elif [ $((mode & 022)) != 0 ]; then
      [ "$owner" = "$EUID" ] || {
        image_fault="others may write to the image $path; let its owner $(owner_of "$path") remove it, or set image-cache to another folder"
        return 1
      }
      take_back "$path" "$2" || return
    fi
  done
  others_can_change "$file" || return 0
  sign=$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file") || { image_fault="cannot look at $file" && return 1; }
  known=$(remembered_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$sign"$'\n'*) return 0 ;; esac
  fi
  now=$(date +%s)
  is_the_image "$file" "$2" || return
  [ "$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file")" = "$sign" ] || { image_fault="the image $file changed while it was read" && return 1; }
  [ -n "$known" ] || return 0
  read -r _ _ _ changed altered <<<"$sign"
  if [ "${changed%.*}" -le $((now - 2)) ] && [ "${altered%.*}" -le $((now - 2)) ]; then
    { printf '%s\n' "$sign" >>"$known/$2"; } 2>/dev/null || true
  fi
}

# Opens the lock file $1, in a folder that others may write to as well, as the number $opened. Nothing is written to it: a link that
# somebody put there does no harm. Where the folder is a group's, the lock is too.
open_lock() {
  local group_too=077
  [ $((0$(stat -Lc %a -- "${1%/*}") & 020)) = 0 ] || group_too=007
  [ -e "$1" ] || (umask "$group_too" && : >>"$1") 2>/dev/null || true
  { exec {opened}>>"$1"; } 2>/dev/null || exec {opened}<"$1"
}

# Prints the mode of an image in the folder $1: for us alone, unless the folder is made for a group (setgid, and readable for it).
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }

# The image, once for everybody: the first task that finds it missing pulls it into the shared cache, the others wait for it.
pull_image() {
  # Locks may hold on one node only, as some file systems are mounted: so each pull has a name of its own.
  local part code=0
  part=$(mktemp -u -- "${image%/*}/.${image##*/}.$SLURM_JOB_ID.${SLURM_PROCID:-0}.XXXXXXXXXX") || return
  echo "pulling the image oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd on $(hostname)" >&2
  TMPDIR=$scratch singularity pull --disable-cache "$part" oras://registry.example.org/team/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd >&2 || code=$?
  if [ "$code" != 0 ]; then
    echo "error: the image could not be pulled on $(hostname) (exit status $code); Apptainer's own words are above" >&2
  elif [ "$(sha256sum <"$part")" != "abababababababababababababababababababababababababababababababab  -" ]; then
    echo "error: the image that came is not the one that was asked for: its sha256 is not abababababababababababababababababababababababababababababababab" >&2
    code=1
  elif ! { chmod "$(image_mode "${image%/*}")" "$part" && mv -f "$part" "$image"; }; then
    echo "error: cannot write $image on $(hostname)" >&2
    code=1
  fi
  rm -f "$part"
  return "$code"
}
if [ ! -e "$image" ]; then
  open_lock "${image%/*}/.abababababababababababababababababababababababababababababababab.lock" || finish 1
  image_lock=$opened
  flock "$image_lock" || echo "cannot lock ${image%/*} on $(hostname): several nodes may pull the image" >&2
  [ -e "$image" ] || pull_image || finish 1
  exec {image_lock}>&-
fi

if [ -e "$image" ] && ! check_image "$image" abababababababababababababababababababababababababababababababab "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --mount, unlike --bind, can name every path: its fields are quoted as in CSV (apptainer exec --help).
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=()
mounts+=(--mount "type=bind,$(field source /data/common),$(field destination /data/common),ro")
# Behind these: a folder that is mounted for reading only may hold the run's, and the program could not note that it began.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# Apptainer hands the node's variables to the program, but mounts only /tmp and /var/tmp of the folders that they name. Each of these
# folders is mounted at its own path, before all else, so that it hides nothing; what a job itself mounts there wins.
temporary=()
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  folder=${!name-}
  while [ "$folder" != "${folder%/}" ]; do folder=${folder%/}; done
  case $folder in /*) ;; *) continue ;; esac
  case "${temporary[*]-} ${mounts[*]} " in *",$(field destination "$folder")"[\ ,]*) continue ;; esac
  temporary+=(--mount "type=bind,$(field source "$folder"),$(field destination "$folder")")
done
mounts=(${temporary[@]+"${temporary[@]}"} "${mounts[@]}")

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
# An image's own environment script may end before its program starts (an "exit 0", say), and Apptainer then ends with 0. So a file says that
# the program has not begun until program.sh, in the container, empties it: which needs no room, even where a disk is full.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
contain() { exec singularity exec --no-eval --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

# Slurm's signals reach this shell: pass them on, and stay to note how the program ended.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$task" "$job" &
container=$!
# A signal ends the wait, not the program: wait again, else its exit code would be the signal's.
while :; do
  signalled="" code=0
  wait "$container" || code=$?
  if [ -z "$signalled" ] || [ "$code" -le 128 ]; then break; fi
done
[ "$code" != 0 ] || [ ! -s "$unbegun" ] || {
  echo "the program never began: the environment of the image ($image, /.singularity.d/env) ended first, with exit code 0" >&2
  code=125 why=never-began
}
rm -f "$unbegun"
finish "$code"
HPCDEPLOY_END_0123456789
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id.
# The command and its environment stand here, and pass through nobody else's quoting.
# The first argument is the file by which the wrapper outside sees that this began (login_templates/unbegun.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# No command means the image's own run script.
set -- /.singularity.d/runscript
exec "$@"
HPCDEPLOY_END_0123456789
  check_job
}

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

# Asks Slurm before the job is submitted about what it would accept and then leave in the queue for ever, or fail on the node.
check_job() {
  local release output unavailable
  # 24.11 rejects what no node of the cluster can ever run. 22.05 and 26.05 accept it and leave it in the queue (seen); only --test-only
  # reports it there, and never leaves a job behind (job_allocate, will_run, in src/slurmctld/job_mgr.c).
  release=$(slurm_release sbatch)
  [ "$release" -lt 2411 ] || [ "$release" -ge 2605 ] || return 0
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" job.sh 2>&1) && return
  output=${output//$'\n'/; }
  case $output in *"node configuration is not available"*) ;; *) return 0 ;; esac
  # It reports the same where the nodes are only down, drained or reserved now (job_start_data in src/slurmctld/job_scheduler.c).
  unavailable=$(unavailable_nodes) || unavailable="an unknown number of"
  [ "$unavailable" != 0 ] || stop 12 "Slurm rejects the job: $output"
  say "note: none of the nodes that are available now can run this job ($output); $unavailable nodes are down, drained or reserved. \
If it does not start once they are back, cancel it and ask for less"
}

# Prints how many nodes, of the job's partition where it names one, take no jobs now. The signs behind a state: powered down, powering
# up, planned, and some CPUs allocated (sinfo(1), NODE STATE CODES).
unavailable_nodes() {
  local partition
  partition=$(sed -nE 's/^#SBATCH --partition=([A-Za-z0-9_.,+-]+)$/\1/p' "$run/job.sh")
  sinfo --all --noheader --Node ${partition:+--partition="$partition"} --format='%N %T' |
    awk '$2 !~ /^(idle|mixed|allocated|completing|planned)[~#+-]*$/ && !seen[$1]++ { count++ } END { print count + 0 }'
}

# Prints the job's id. The paths go as arguments, which no tokenizer touches; the rest stands in job.sh.
submit_job() {
  # In the folder's own name Slurm would fill in too: %j, %x.
  local output line logs='logs/0' patterns=${run//%/%%}
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append \
    --output="$patterns/$logs.out" --error="$patterns/$logs.err" job.sh) || return
  # Sites print words of their own, even with --parsable; the id stands alone, or before ;cluster.
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)(\;[^[:space:]]+)?$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'sbatch printed no job id, but: %s\n' "$output" >&2
  return 1
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

# Whether sbatch said a plain no. Whatever else it said, the controller may have taken the job all the same.
refused() {
  local words
  words=$(<"$1")
  case $words in
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"printed no job id"*) return 1 ;;
    *"uthentication"* | *"essage receive"* | *"essage send"* | *"Transport"* | *"standby"* | *"temporarily"*) return 1 ;;
    *"error:"* | *"fatal:"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Whether no controller could be connected to, so that none can have the job.
never_left() { grep -q 'connect failure' -- "$1"; }

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

parts=("")
part_size=0
part=""
job_ids=""

# What goes wrong before anything is submitted is a plain no; afterwards it is not, since earlier parts are there.
stop() {
  local code=$1
  shift
  [ -z "$part" ] || { code=13 && set -- "$* (tasks 0 to $((${part#.} - 1)) are submitted)"; }
  die "$code" "$@"
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

# Whether the scheduler answers and knows nothing of the job that it took, which left no trace either. A controller that crashes
# forgets what it took in its last seconds, and gives the number to the next job (seen with Slurm 24.11).
forgotten() {
  [ ! -e "$run/cancelled" ] && [ -z "$(ls -A -- "$run/tasks")" ] && ask_scheduler && [ "${#jobs[@]}" = 0 ]
}

# Whoever cancels a run that nobody is sure of leaves a mark in its folder first, and then looks for its job: so a call that does not
# see the mark before it submits sees it behind that, and takes the job "$1" back.
stop_if_cancelled() {
  [ -e "$run/cancelled" ] || return 0
  [ -z "${1-}" ] || { say "taking job $1 back" && withdraw "$1" >&2; } || true
  die 15 "run $run_id was cancelled, and is not submitted any more; if it is still to run, submit it anew, as another run"
}

prepared=false
prepare() {
  ! "$prepared" || return 0
  prepared=true
  command -v sbatch >/dev/null || stop 10 "sbatch is not on the PATH of this machine, $HOSTNAME; name the login node as \
the cluster's host, or add what brings sbatch (module load ...) to the cluster's setup"
  ensure_image
  # No "||" behind these: it would let them go on after a failure (bash(1), set -e).
  trap 'stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"' EXIT
  write_job
}

# Sets job_id to the job of this part, which is submitted unless it was before.
submit_part() {
  local code earlier=false
  if job_id=$(readlink -- "$run/id$part"); then
    [[ $asked_to != *" again "* ]] || ! forgotten || stop 12 "slurm knows nothing of this run's job $job_id, which never began: \
it was cancelled before that, or a crash of slurm lost it. If it is still to run, submit it anew, as another run"
    return
  fi
  stop_if_cancelled
  jobs=()
  if [ -e "$run/submitting$part" ]; then
    earlier=true
    say "an earlier call was cut off while submitting; asking the scheduler"
    ask_patiently || die 13 "the scheduler could not be asked whether it has run $run_id"
  elif [[ $asked_to == *" again "* ]]; then
    ask_scheduler || die 13 "the scheduler could not be asked whether it has run $run_id"
  fi
  if [ "${#jobs[@]}" != 0 ]; then
    settle "${jobs[@]}"
    return
  fi

  prepare
  stop_if_cancelled
  trap 'stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"' EXIT
  : >"$run/submit.err"
  [ -e "$run/submitting$part" ] || date +%s | write "$run/submitting$part"
  trap - EXIT
  sync -- "$run/submitting$part" "$run" 2>/dev/null || true

  # From here on nothing ends this by itself: each way out says what is known of the job.
  set +e
  job_id=$(submit_job 2>"$run/submit.err")
  code=$?
  cat -- "$run/submit.err" >&2
  if [ "$code" = 0 ]; then
    # What an earlier call sent may have come in after all.
    ! "$earlier" || ask_scheduler
    [ "${#jobs[@]}" != 0 ] || jobs=("$job_id")
  # The scheduler may have taken the job and its answer got lost: it is asked before a failure is believed.
  elif refused "$run/submit.err"; then
    ask_scheduler || die 13 "submitting failed, and the scheduler could not be asked whether it took the job"
    if [ "${#jobs[@]}" = 0 ]; then
      rm -f -- "$run/submitting$part" "$run/unanswered$part"
      stop 12 "slurm refused the job; its own words are above"
    fi
  elif ! ask_patiently || [ "${#jobs[@]}" = 0 ]; then
    never_left "$run/submit.err" || date +%s >"$run/unanswered$part"
    die 13 "slurm did not say whether it took the job, and does not show it now; its own words are above"
  fi
  settle "${jobs[@]}"
  set -e
  stop_if_cancelled "$job_id"
  already=false
}

already=true
for part in "${parts[@]}"; do
  submit_part
  job_ids+=${job_ids:+,}$job_id
done
if "$already"; then say "run $run_id was submitted before"; else say "submitted as job $job_ids"; fi
answer "$job_ids" "$already"
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main "$@" </dev/null
