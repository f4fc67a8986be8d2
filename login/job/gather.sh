# --- login/job/gather.sh: link or copy the job's outputs into a folder that HTCondor transfers. The shell expands the patterns; a pattern
# that matches nothing is ignored. Files for which is_input succeeds are not outputs.
out=.hpcdeploy-outputs
mkdir -p "$out"
gather() {
  ! is_input "${1#./}" || return 0
  if [ -d "$1" ] && [ -L "$1" ]; then
    echo "$1 is a link to a folder, which HTCondor does not send: it stays here" >&2
  elif { [ -f "$1" ] && [ ! -r "$1" ]; } || { [ -d "$1" ] && { [ ! -r "$1" ] || [ ! -x "$1" ]; }; }; then
    # Such a file is left out, because HTCondor would hold the job (hold code 12, subcode 13).
    echo "$1 may not be read: it is left out of the outputs" >&2
  elif [ -d "$1" ]; then
    for inner in "$1"/* "$1"/.[!.]* "$1"/..?*; do
      [ ! -e "$inner" ] || gather "$inner"
    done
  elif [ -f "$1" ]; then
    mkdir -p "$out/${1%/*}"
    { [ ! -L "$1" ] && ln -f "$1" "$out/$1" 2>/dev/null; } || cp -fp "$1" "$out/$1" ||
      echo "$1 could not be copied to the outputs" >&2
  else
    echo "$1 is no file, folder or link: it is left out of the outputs" >&2
  fi
}
gather_all() {
  IFS=
  for pattern in "$@"; do
    # shellcheck disable=SC2086
    for path in ./$pattern; do
      [ ! -e "$path" ] || gather "$path"
    done
  done
}
