#!/bin/bash
# Receives a stretch of a file that travels in several at once, over a long way; its bytes follow this script on standard input.
# Written by hpcdeploy 0.1.0. It answers with the bytes that it has already; the rest is to follow. receive.sh puts the
# stretches together.
#
# Exit status: 0 it is there; 10 this machine is not as it should be; 15 not all of it came; without an answer and a word, another call
# is at it or has brought the whole.

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
# What follows on standard input is not for a line of setup to read.
{
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
} </dev/null
set -euo pipefail
umask 077
# A cut connection is the end of the input, and no more than that.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }

what='the code of '"'"'my project'"'"''
sha256=1212121212121212121212121212121212121212121212121212121212121212
size=1000000
file=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/code/1212121212121212121212121212121212121212121212121212121212121212.tar'
case $file in
  /*) ;;
  *) die 10 "$what is to become $file, which is no absolute path; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256.1000000.parcel
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$folder" || die 10 "cannot make $folder; set root in the cluster's settings to a folder that you may write to"
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

# Opens the lock file $1, in a folder that others may write to as well, as the number $opened. Nothing is written to it: a link that
# somebody put there does no harm. Where the folder is a group's, the lock is too.
open_lock() {
  local group_too=077
  [ $((0$(stat -Lc %a -- "${1%/*}") & 020)) = 0 ] || group_too=007
  [ -e "$1" ] || (umask "$group_too" && : >>"$1") 2>/dev/null || true
  { exec {opened}>>"$1"; } 2>/dev/null || exec {opened}<"$1"
}

trusted "$(stat -Lc %u -- "$folder")" || die 10 "$folder belongs to $(owner_of "$folder"), who could exchange $what; expected you or root. Set root or image-cache \
in the cluster's settings to a folder of your own; for a folder of images whose owner you trust set image-cache-owners"
if [ -L "$part" ] || { [ -e "$part" ] && [ ! -O "$part" ]; }; then
  die 10 "$part is somebody else's file, or a link; remove it, or have it removed by its owner, and submit again"
fi
open_lock "$folder/.$sha256.1000000.lock" || die 10 "cannot open $folder/.$sha256.1000000.lock, by which uploads take turns"
lock=$opened
arrived() { stat -c %s -- "$part" 2>/dev/null || echo 0; }

# A client that vanished, as a laptop does that is closed, leaves its connection open and says nothing: who waits for the
# lock would wait for ever.
give_up_on_silence() {
  local before
  trap 'kill "$!"; exit' TERM
  while before=$(arrived); sleep 120 & wait "$!"; do
    [ "$(arrived)" != "$before" ] || { kill "$1" 2>/dev/null; return; }
  done
}

flock --nonblock "$lock" || exit 15
[ "$(stat -Lc %s -- "$file" 2>/dev/null)" != 1200000 ] || exit 15
answer "$(arrived)"
exec {input}<&0 </dev/null
cat >>"$part" <&"$input" {input}<&- {lock}>&- &
writer=$!
exec {input}<&-
give_up_on_silence "$writer" >/dev/null 2>&1 {lock}>&- &
watch=$!
wait "$writer" || true
kill "$watch" 2>/dev/null || true
[ "$(arrived)" -ge "$size" ] || die 15 "$(arrived) of $size bytes of a stretch of $what have come"
}
# Read to its end before the first command runs. What follows is no script, and never becomes one.
main; exec </dev/null
