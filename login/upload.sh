# --- login/upload.sh: prepare the reception of a file, whose bytes follow the script on standard input.
# A lost connection only ends the input, because messages.sh ignores HUP and PIPE.
case $file in
  /*) ;;
  *) die 10 "the path of $what, $file, is not absolute; set root in the cluster's settings" ;;
esac
folder=${file%/*}
part=$folder/.$sha256.parcel
records=$folder/.$sha256.records # of a parallel upload (receive.py)
ranges=$folder/.$sha256.ranges
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$folder" || die 10 "cannot make $folder; set root in the cluster's settings to a folder that you may write to"
trusted "$(stat -Lc %u -- "$folder")" || die 10 "$folder belongs to $(owner_of "$folder"), who could replace $what; expected you or root. Set root or image-cache \
in the cluster's settings to a folder of your own; for a folder of images whose owner you trust set image-cache-owners"
for leftover in "$part" "$records" "$ranges"; do
  if [ -L "$leftover" ] || { [ -e "$leftover" ] && [ ! -O "$leftover" ]; }; then
    die 10 "$leftover is another user's file, or a link; remove it, or let its owner remove it, and submit again"
  fi
done
open_lock "$folder/.$sha256.lock" || die 10 "cannot open $folder/.$sha256.lock, the lock for uploads"
lock=$opened
