# Whether a tree is there as it was unpacked: a site that removes old files from its scratch file system leaves it with holes.
is_whole() {
  local count=${1%/*}/.${1##*/}.count
  [ -d "$1" ] && { [ ! -s "$count" ] || [ "$(find "$1" ! -type d -printf . | wc -c)" = "$(cat -- "$count")" ]; }
}

# Puts what was unpacked into $1 where it belongs, $2, file by file where that has holes: jobs may be reading the others.
put_into_place() {
  local file
  [ -d "$2" ] || { mv -T -- "$1" "$2" && return; }
  (cd -- "$1" && find . ! -type d -print0) | while IFS= read -r -d '' file; do
    [ -e "$2/$file" ] || [ -L "$2/$file" ] || { mkdir -p -- "$2/${file%/*}" && mv -T -- "$1/$file" "$2/$file"; } || return
  done
  rm -rf -- "$1"
}

# What was brought as an archive is unpacked once for everybody, into a folder named by the archive's sha256. It has its name
# when it is whole. The lock is the one under which the archive was received. The files are of today (-m), since sites remove old ones.
unpack() {
  local tree=$root/$1 part=$root/${1%/*}/.${1##*/}.unpacking count=$root/${1%/*}/.${1##*/}.count tree_lock
  if is_whole "$tree"; then
    rm -f -- "$tree.tar" # which a call that was killed has left
    return 0
  fi
  command -v tar >/dev/null || die 10 "tar is not on this machine, and $tree.tar is to be unpacked"
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
