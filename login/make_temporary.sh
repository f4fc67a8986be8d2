# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and sets
# temporary to its path. FOLDER may be writable for all users, like /tmp, if it has the sticky bit, because other users then cannot rename the
# new folder (rename(2), EPERM).
make_temporary() {
  local mode owner remedy="set tmp in the cluster's settings to a folder of your own"
  read -r mode owner < <(stat -Lc '%f %u' -- "$1") || die 10 "cannot look at $1; $remedy"
  case $owner in
    "$EUID" | 0) ;;
    *) die 10 "$1, the folder for temporary files, belongs to $(owner_of "$1"), who could replace its files; $remedy" ;;
  esac
  [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod +t -- "$1" 2>/dev/null ||
    die 10 "others may write to $1, and replace its files; run 'chmod +t $1', or $remedy"
  { temporary=$(mktemp -d -- "$1/$2-XXXXXXXX") && is_private "$temporary"; } ||
    die 10 "cannot make a folder in $1; make room there (a full disk, or your quota)"
}
