# --- login/open_lock.sh: open the lock file $1, and set opened to its file descriptor. If others can write to the folder, they can put a
# link there. This does no harm, because nothing is written to the file. In a folder for a group, the group may use the lock.
# shellcheck disable=SC2034
open_lock() {
  local group_too=077
  [ $((0$(stat -Lc %a -- "${1%/*}") & 020)) = 0 ] || group_too=007
  [ -e "$1" ] || (umask "$group_too" && : >>"$1") 2>/dev/null || true
  { exec {opened}>>"$1"; } 2>/dev/null || exec {opened}<"$1"
}
