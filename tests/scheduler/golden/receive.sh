#!/bin/bash
# Receives one file, whose bytes follow this script on standard input. Written by hpcdeploy 0.1.0.
#
# It answers with the bytes that it has already; the rest is to follow. What comes is kept when the connection dies, and the next
# call goes on from there. The file takes its name once it is whole and its sha256 is right.
#
# Exit status: 0 it is there; 10 this machine is not as it should be; 11 what came is not what was promised, and is gone;
#              15 not all of it came: go on.

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
size=1200000
file=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/code/1212121212121212121212121212121212121212121212121212121212121212.tar'
case $file in
  /*) ;;
  *) die 10 "$what is to become $file, which is no absolute path; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256.parcel
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
open_lock "$folder/.$sha256.lock" || die 10 "cannot open $folder/.$sha256.lock, by which uploads take turns"
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

flock --nonblock "$lock" || { say "$what is on its way already; waiting for it"; flock "$lock"; }
forget_lanes() { rm -f -- "$folder/.$sha256".[0-9]*.parcel "$folder/.$sha256".[0-9]*.lock; }
if [ "$(stat -Lc %s -- "$file" 2>/dev/null)" = "$size" ]; then
  forget_lanes
  answer "$size"
  return
fi
[ "$(arrived)" -le "$size" ] || rm -f -- "$part"
# openssl uses the processor's own SHA instructions, and sha256sum not everywhere: a third of its time. By itself it reads 8 KiB at
# once: it and who writes to it then wait for each other most of the time.
digest() { if command -v openssl >/dev/null; then stdbuf -i 64K openssl dgst -sha256 -r; else sha256sum; fi; }

# Prints the mode of an image in the folder $1: for us alone, unless the folder is made for a group (setgid, and readable for it).
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }

# What has come in several lanes (lane.sh) is put one behind the other, as far as it hangs together. Of one that was killed over this,
# or went on in one, a stretch may be there in part already.
stretches() {
  local piece
  for piece in "$folder/.$sha256".[0-9]*.parcel; do
    piece=${piece%.parcel}
    [ ! -e "$piece.parcel" ] || echo "${piece##*.}"
  done
}
join_lanes() {
  local start piece here lane_lock
  while read -r start; do
    [ "$start" -le "$(arrived)" ] || break
    piece=$folder/.$sha256.$start
    open_lock "$piece.lock" || die 10 "cannot open $piece.lock"
    lane_lock=$opened
    flock "$lane_lock"
    here=$(($(arrived) - start))
    # cat(1) may leave the copying to the file system.
    if [ "$here" = 0 ]; then cat -- "$piece.parcel"; else tail -c "+$((here + 1))" -- "$piece.parcel"; fi >>"$part" ||
      die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again"
    rm -f -- "$piece.parcel"
    exec {lane_lock}>&-
  done < <(stretches | sort -n)
}

to_disk() { sync -- "$part" 2>/dev/null || true; }

# Prints what has come, and what comes, for its sha256. It is read from the file, a little behind the writer: tee(1) does both, in
# pieces of 8 KiB, and took twice as long as the network did. Meanwhile it goes to the disk, which else took as long again as
# hashing, at the end. Fails where it cannot be written.
receive() {
  local writer watch end='' word='' piece now read=0 words disk=''
  # Its number, and when it has ended, its exit status.
  exec {words}< <(exec {lock}>&-; cat >>"$part" <&"$input" {input}<&- & echo "$!"; wait "$!" && echo 0 || echo "$?")
  read -r -u "$words" writer
  exec {input}<&-
  give_up_on_silence "$writer" >/dev/null 2>&1 {lock}>&- {words}<&- &
  watch=$!
  while [ -z "$end" ]; do
    # When the time is over, `read` has kept what came of a line: the 1 of 143 is no exit status of its own.
    if read -r -t 0.1 -u "$words" piece; then end=$word$piece; elif [ "$?" -gt 128 ]; then word+=$piece; else end=unknown; fi
    now=$(arrived)
    kill -0 "$disk" 2>/dev/null || { to_disk >/dev/null & disk=$!; }
    [ "$now" = "$read" ] || dd if="$part" bs=64K iflag=skip_bytes,count_bytes skip="$read" count="$((now - read))" status=none
    read=$now
  done
  kill "$watch" 2>/dev/null || true
  wait "$disk" || true
  [ "$end" != 1 ]
}

exec {input}<&0 </dev/null
join_lanes
answer "$(arrived)"
written=yes
found=$(receive | digest) || written=no
found=${found%% *}
exec {input}<&-
got=$(arrived)
[ "$written" = yes ] || [ "$got" = "$size" ] ||
  die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again; $got of $size bytes are there"
[ "$got" = "$size" ] || die 15 "$got of $size bytes of $what have come"
if [ "$found" != "$sha256" ]; then
  rm -f -- "$part"
  forget_lanes
  die 11 "$what came out wrong: its sha256 is $found, expected $sha256"
fi
to_disk
chmod "$(image_mode "$folder")" -- "$part"
mv -f -- "$part" "$file"
forget_lanes
}
# Read to its end before the first command runs. What follows is no script, and never becomes one.
main; exec </dev/null
