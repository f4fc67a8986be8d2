# --- login/open_lock.sh: open the lock file $1, in a folder that others may write to, as file descriptor $opened. Nothing is written
# to it, so a link that another user put there does no harm. In the folder of a group the group may use the lock.
# shellcheck disable=SC2034
open_lock() {
  local group_too=077
  [ $((0$(stat -Lc %a -- "${1%/*}") & 020)) = 0 ] || group_too=007
  [ -e "$1" ] || (umask "$group_too" && : >>"$1") 2>/dev/null || true
  { exec {opened}>>"$1"; } 2>/dev/null || exec {opened}<"$1"
}
