# --- login/upload.sh: prepare the reception of a file, whose bytes follow the script on standard input.
# A cut connection is just the end of the input (messages.sh ignores HUP and PIPE).
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }
case $file in
  /*) ;;
  *) die 10 "$what is to become $file, which is no absolute path; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256$suffix.parcel
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$folder" || die 10 "cannot make $folder; set root in the cluster's settings to a folder that you may write to"
trusted "$(stat -Lc %u -- "$folder")" || die 10 "$folder belongs to $(owner_of "$folder"), who could exchange $what; expected you or root. Set root or image-cache \
in the cluster's settings to a folder of your own; for a folder of images whose owner you trust set image-cache-owners"
if [ -L "$part" ] || { [ -e "$part" ] && [ ! -O "$part" ]; }; then
  die 10 "$part is another user's file, or a link; remove it, or let its owner remove it, and submit again"
fi
open_lock "$folder/.$sha256$suffix.lock" || die 10 "cannot open $folder/.$sha256$suffix.lock, the lock for uploads"
lock=$opened
received() { stat -c %s -- "$part" 2>/dev/null || echo 0; }

# A client that disappears, such as a closed laptop, leaves its connection open and sends nothing: without a timeout the next upload would
# wait for the lock forever. End the process $1 after $silence_timeout seconds without data.
end_after_silence() {
  local before
  trap 'kill "$!"; exit' TERM
  while before=$(received); sleep "$silence_timeout" & wait "$!"; do
    [ "$(received)" != "$before" ] || { kill "$1" 2>/dev/null; return; }
  done
}
