# HTCondor sends each task what lies in this folder, so that no name passes through its lists.
carry() {
  local name=$run/inputs/$2
  mkdir -p -- "${name%/*}"
  ln -f -- "$root/$1" "$name" 2>/dev/null || cp -f -- "$root/$1" "$name" ||
    die 10 "$root/$1 could not be put into $run/inputs; make room there (a full disk, or your quota), and submit again"
}
[% for path, name in carried %]
carry [= path =] [= name =]
[% endfor %]
