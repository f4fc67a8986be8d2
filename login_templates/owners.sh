# Who may have written a file. Needs bash and coreutils only, and works on network file systems: it looks at owners and modes. An ACL that
# lets others write shows in the mode as well, as the bits of the group (acl(5), "Correspondence Between ACL Entries And File Permission Bits").
image_cache_owners=([= image_cache_owners | words =])

# Whether the user number $1 is this person, root, or named by image-cache-owners.
trusted() {
  local name
  case $1 in "$EUID" | 0) return 0 ;; esac
  for name in ${image_cache_owners[@]+"${image_cache_owners[@]}"}; do
    if [ "$name" = "$1" ] || [ "$(id -u -- "$name" 2>/dev/null)" = "$1" ]; then return 0; fi
  done
  return 1
}
