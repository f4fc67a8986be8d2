# What follows on standard input is not for a line of setup to read.
{
[% include "login_templates/setup.sh" %]
} </dev/null
set -euo pipefail
umask 077
# A cut connection is the end of the input, and no more than that.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }

what=[= what | word =]
sha256=[= sha256 =]
size=[= size =]
file=[= path =]
case $file in
  /*) ;;
  *) die 10 "$what is to become $file, which is no absolute path; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256[= lane =].parcel
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$folder" || die 10 "cannot make $folder; set root in the cluster's settings to a folder that you may write to"
[% include "login_templates/owner_of.sh" %]

[% include "login_templates/owners.sh" %]

[% include "login_templates/open_lock.sh" %]

trusted "$(stat -Lc %u -- "$folder")" || die 10 "$folder belongs to $(owner_of "$folder"), who could exchange $what; expected you or root. Set root or image-cache \
in the cluster's settings to a folder of your own; for a folder of images whose owner you trust set image-cache-owners"
if [ -L "$part" ] || { [ -e "$part" ] && [ ! -O "$part" ]; }; then
  die 10 "$part is somebody else's file, or a link; remove it, or have it removed by its owner, and submit again"
fi
open_lock "$folder/.$sha256[= lane =].lock" || die 10 "cannot open $folder/.$sha256[= lane =].lock, by which uploads take turns"
lock=$opened
arrived() { stat -c %s -- "$part" 2>/dev/null || echo 0; }

# A client that vanished, as a laptop does that is closed, leaves its connection open and says nothing: who waits for the
# lock would wait for ever.
give_up_on_silence() {
  local before
  trap 'kill "$!"; exit' TERM
  while before=$(arrived); sleep [= patience =] & wait "$!"; do
    [ "$(arrived)" != "$before" ] || { kill "$1" 2>/dev/null; return; }
  done
}
