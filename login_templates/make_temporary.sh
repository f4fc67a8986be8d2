# make_temporary FOLDER NAME: makes NAME-XXXXXXXX in FOLDER, under a name that nobody can foresee and open to us alone, and sets temporary to it.
# FOLDER may be everybody's, as /tmp is: there the sticky bit keeps others from renaming what is ours (rename(2), EPERM).
make_temporary() {
  local mode owner remedy="set tmp in the cluster's settings to a folder of your own"
  read -r mode owner < <(stat -Lc '%f %u' -- "$1") || die 10 "cannot look at $1; $remedy"
  case $owner in
    "$EUID" | 0) ;;
    *) die 10 "$1, the folder for temporary files, belongs to $(owner_of "$1"), who could exchange what lies there; $remedy" ;;
  esac
  [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod +t -- "$1" 2>/dev/null ||
    die 10 "others may write to $1, and exchange what lies there; run 'chmod +t $1', or $remedy"
  { temporary=$(mktemp -d -- "$1/$2-XXXXXXXX") && is_private "$temporary"; } ||
    die 10 "cannot make a folder in $1; make room there (a full disk, or your quota)"
}
