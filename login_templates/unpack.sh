# What was brought as an archive is unpacked once for everybody, into a folder named by the archive's sha256. It has its name
# when it is whole. The lock is the one under which the archive was received.
unpack() {
  local tree=$root/$1 part=$root/${1%/*}/.${1##*/}.unpacking tree_lock
  if [ -d "$tree" ]; then
    rm -f -- "$tree.tar" # which a call that was killed has left
    return 0
  fi
  command -v tar >/dev/null || die 10 "tar is not on this machine, and $tree.tar is to be unpacked"
  exec {tree_lock}>"$root/${1%/*}/.${1##*/}.lock"
  flock --nonblock "$tree_lock" || { say "another run is unpacking $tree.tar; waiting for it"; flock "$tree_lock"; }
  if [ ! -d "$tree" ]; then
    rm -rf -- "$part"
    { mkdir -- "$part" && tar -xof "$tree.tar" -C "$part" && mv -T -- "$part" "$tree"; } || {
      rm -rf -- "$part"
      die 10 "$tree.tar could not be unpacked; make room there (a full disk, or your quota), or remove it, and submit again"
    }
    rm -f -- "$tree.tar"
  fi
  exec {tree_lock}>&-
}
