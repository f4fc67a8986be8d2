# --- login/intact.sh: check the content of images. A file that has not changed since its sha256 was verified is not read again.
# identity_of FILE: print device, inode, size, and the times of the last change of content and inode.
identity_of() { stat -Lc '%d %i %s %.9Y %.9Z' -- "$1"; }

# note_intact FILE SHA256 ROOT IDENTITY: record that FILE had IDENTITY when it had this sha256. A later change must change the times. This is
# certain after two seconds, and after 0.1 seconds if the file system has fractions of a second: then its clock ticks every 10 ms or faster.
note_intact() {
  local known changed fraction=${4##*.}
  known=$(verified_in "$3") || return 0
  changed=${4##* }
  sleep 0.1
  [ "$(identity_of "$1")" = "$4" ] || return 0
  [ $((10#$fraction)) != 0 ] || [ "${changed%.*}" -le $(($(date +%s) - 2)) ] || return 0
  { printf '%s\n' "$4" >>"$known/$2"; } 2>/dev/null || true
}

# is_intact FILE SHA256 ROOT: test whether the sha256 of FILE is SHA256.
is_intact() {
  local known identity found
  identity=$(identity_of "$1" 2>/dev/null) || return 1
  known=$(verified_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$identity"$'\n'*) return 0 ;; esac
  fi
  found=$(sha256sum <"$1") || return 1
  [ "${found%% *}" = "$2" ] && [ "$(identity_of "$1")" = "$identity" ] || return 1
  note_intact "$1" "$2" "$3" "$identity"
}

# move_aside FILE: move a damaged image and its record to the folder "damaged" beside it, so that no job can use it.
move_aside() {
  local aside=${1%/*}/damaged file
  mkdir -p -- "$aside" || return
  for file in "$1" "${1%.sif}.json"; do
    [ ! -e "$file" ] || mv -f -- "$file" "$aside/" || return
  done
}
