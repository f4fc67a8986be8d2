# --- login/uploads.sh: find out which files must be uploaded first. $uploads has five words for each: sha256, size, path, description and
# unpacked tree. A file is present if it has the right size, because a file that a user is still copying is smaller.
needs=""
need() {
  local sha256=$1 size=$2 path=$3 what=$4 tree=$5 have
  # Look for the archive before the tree, because another run makes the tree first and then removes the archive.
  if [ "$(stat -Lc %s -- "$path" 2>/dev/null)" = "$size" ]; then return 0; fi
  if [ -n "$tree" ] && is_whole "$tree"; then return 0; fi
  have=$(stat -c %s -- "${path%/*}/.$sha256.parcel" 2>/dev/null || echo 0)
  needs+="${needs:+, }{\"sha256\": \"$sha256\", \"path\": $(json "$path"), \"have\": $have}"
  [[ $arguments == *" bring "* ]] ||
    say "$what is missing: copy it to $path ($size bytes, sha256 $sha256), and run this again"
}
ensure_uploads() {
  local next
  for ((next = 0; next < ${#uploads[@]}; next += 5)); do need "${uploads[@]:next:5}"; done
  [ -z "$needs" ] || {
    printf '\nHPCDEPLOY {"run": "%s", "needs": [ %s ]}\n' "$run_id" "$needs" || true
    set +e
    exit 14
  }
}
