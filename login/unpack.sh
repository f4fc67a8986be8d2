# --- login/unpack.sh: unpack uploaded archives, once for all runs, into folders (trees) that are named by the archive's sha256.

# Test whether the tree $1 has all its files. Some may be missing, because sites remove old files from scratch file systems.
is_whole() {
  local count=${1%/*}/.${1##*/}.count
  [ -d "$1" ] && { [ ! -s "$count" ] || [ "$(find "$1" ! -type d -printf . | wc -c)" = "$(cat -- "$count")" ]; }
}

# Move the unpacked tree $1 to $2. If $2 exists, add only the missing files, because jobs may be reading the existing ones.
put_into_place() {
  local file
  [ -d "$2" ] || { mv -T -- "$1" "$2" && return; }
  (cd -- "$1" && find . ! -type d -print0) | while IFS= read -r -d '' file; do
    [ -e "$2/$file" ] || [ -L "$2/$file" ] || { mkdir -p -- "$2/${file%/*}" && mv -T -- "$1/$file" "$2/$file"; } || return
  done
  rm -rf -- "$1"
}

# Unpack the tree $1. A tree is renamed to its final name when it is complete. The lock is the same as that of an upload of the archive. Files
# get today's date (tar -m), because sites remove old files.
unpack() {
  local tree=$root/$1 part=$root/${1%/*}/.${1##*/}.unpacking count=$root/${1%/*}/.${1##*/}.count tree_lock
  if is_whole "$tree"; then
    rm -f -- "$tree.tar" # left by a call that was killed
    return 0
  fi
  command -v tar >/dev/null || die 10 "tar is not on this machine; it is needed to unpack $tree.tar"
  exec {tree_lock}>"$root/${1%/*}/.${1##*/}.lock"
  flock --nonblock "$tree_lock" || { say "another run is unpacking $tree.tar; waiting for it"; flock "$tree_lock"; }
  if ! is_whole "$tree"; then
    rm -rf -- "$part"
    { mkdir -- "$part" && tar -xomf "$tree.tar" -C "$part" && find "$part" ! -type d -printf . | wc -c >"$count.part" &&
      mv -f -- "$count.part" "$count" && put_into_place "$part" "$tree"; } || {
      rm -rf -- "$part" "$count.part"
      die 10 "$tree.tar could not be unpacked; make room there (a full disk, or your quota), or remove it, and submit again"
    }
    rm -f -- "$tree.tar"
  fi
  exec {tree_lock}>&-
}
