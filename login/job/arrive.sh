# --- login/job/arrive.sh: unpack the archive $1, which HTCondor transferred, into $2. If the program restarts in the same folder, the archive is
# unpacked already and does not exist any more.
arrive() {
  [ -e "./$1" ] || return 0
  command -v tar >/dev/null || { echo "this image has no tar, which is needed to unpack the code and the folders of input" >&2; exit 1; }
  { mkdir -p -- "./$2" && tar -xomf "./$1" -C "./$2"; } || { echo "./$2 could not be unpacked" >&2; exit 1; }
  rm -f -- "./$1"
}
