# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to
# write, the mode permits the group to write (acl(5), "Correspondence Between ACL Entries And File Permission Bits").

# Print the name of the owner of $1, or the user number if the machine knows no name.
owner_of() {
  local name
  name=$(stat -Lc %U -- "$1")
  [ "$name" != UNKNOWN ] || name=$(stat -Lc %u -- "$1")
  printf '%s' "$name"
}

# Test whether the user number $1 is this user, root, or one of image-cache-owners.
trusted() {
  local name
  case $1 in "$EUID" | 0) return 0 ;; esac
  for name in ${image_cache_owners[@]+"${image_cache_owners[@]}"}; do
    if [ "$name" = "$1" ] || [ "$(id -u -- "$name" 2>/dev/null)" = "$1" ]; then return 0; fi
  done
  return 1
}
