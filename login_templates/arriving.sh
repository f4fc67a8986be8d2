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
exec {lock}>"$folder/.$sha256[= lane =].lock"
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
