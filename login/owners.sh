# --- login/owners.sh: who may have written a file. An ACL that lets others write also shows in the mode, as the bits of the group
# (acl(5), "Correspondence Between ACL Entries And File Permission Bits").

# Print the owner of $1, by name if the machine knows one.
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
