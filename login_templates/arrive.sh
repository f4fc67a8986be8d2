# What HTCondor brought as archives is unpacked where the program looks for it. A program that is begun again in the same place
# finds that done.
arrive() {
  [ -e "./$1" ] || return 0
  command -v tar >/dev/null || { echo "this image has no tar, which unpacks the code and the folders of input" >&2; exit 1; }
  { mkdir -p -- "./$2" && tar -xomf "./$1" -C "./$2"; } || { echo "./$2 could not be unpacked" >&2; exit 1; }
  rm -f -- "./$1"
}
[% for name, target in arriving %]
arrive [= name =] [= target =]
[% endfor %]
