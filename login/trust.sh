# --- login/trust.sh: check that only this user and trusted users can have changed an image.

# Test whether $1 is a folder (no link) that belongs to this user, and to which only this user can write.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Test whether a user other than this user and root can have written or replaced the file $1. Owner and mode of the file, and of each folder and
# link on its path, are examined. Others may write to a folder with the sticky bit, because they cannot remove or rename this user's files
# there (rename(2), EPERM). But if fs.protected_hardlinks is 0, they can give a file of this user a second name there (proc_sys_fs(5)). So
# a file in such a folder must have only one name.
others_can_change() {
  local rest=$1 name here mode owner hard_links target paths names number shared links=0
  while :; do
    case $rest/ in */../*) return 0 ;; esac
    paths=(/) here=""
    IFS=/ read -r -d '' -a names <<<"$rest" || true
    for name in "${names[@]}"; do
      name=${name%$'\n'}
      case $name in "" | .) ;; *) here+=/$name && paths+=("$here") ;; esac
    done
    number=0 target="" shared=""
    while read -r mode owner hard_links; do
      case $owner in "$EUID" | 0) ;; *) return 0 ;; esac
      mode=$((16#$mode))
      case $((mode & 0170000)) in
        $((0040000))) ;;
        *) [ -z "$shared" ] || [ "$hard_links" = 1 ] || return 0 ;;
      esac
      case $((mode & 0170000)) in
        $((0120000)))
          target=$(readlink -- "${paths[number]}") && [ $((links += 1)) -le 40 ] || return 0
          case $target in /*) ;; *) target=${paths[number]%/*}/$target ;; esac
          rest=$target${here#"${paths[number]}"}
          break
          ;;
        $((0040000)))
          shared=""
          [ $((mode & 022)) = 0 ] || { [ $((mode & 01000)) != 0 ] && shared=1; } || return 0
          ;;
        *) [ $((mode & 022)) = 0 ] || return 0 ;;
      esac
      number=$((number + 1))
    done < <(stat -c '%f %u %h' -- "${paths[@]}" 2>/dev/null)
    [ -n "$target" ] || break
  done
  [ "$number" != "${#paths[@]}" ]
}

# Print the folder in the root $1 with the records of images whose sha256 was verified; fail if others can write to this folder.
verified_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Test whether the sha256 of the image $1 is $2; if not, set image_fault to the error message.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 does not match the checksum in its name: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). \
Remove it, or set image-cache to a folder of your own"
  return 1
}

# Replace the image $1, to which others may write, by a copy. Changing only the mode would not suffice, because a process that has the file
# open could change it while a job runs.
replace_by_copy() {
  local copy
  { copy=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$copy"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$copy" "$2" && chmod --reference="$1" -- "$copy" && chmod go-w -- "$copy" && mv -f -- "$copy" "$1" && return
  rm -f -- "$copy"
  image_fault="others may write to the image $1, and it does not match the checksum in its name; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: test whether the image may be used; if not, set image_fault to the error message. The image and its folder
# must belong to a trusted user, and no other user may write to the image. If others can have replaced the image, its sha256 is compared.
# A match is recorded with device, inode, size and the times of the last change of content and inode, so that the sha256 is computed again
# only after a change. A file that was changed in the last two seconds is not recorded, because another change in the same tick of the file
# system's clock would not change the times.
check_image() {
  local file=$1 path mode owner now known="" identity changed altered
  image_fault=""
  for path in "${1%/*}" "$file"; do
    read -r mode owner < <(stat -Lc '%f %u' -- "$path") || { image_fault="cannot look at $path" && return 1; }
    if ! trusted "$owner"; then
      image_fault="$path belongs to $(owner_of "$path"), who could have put any image there; expected you or root. If you trust \
them, set image-cache-owners = [\"$(owner_of "$path")\"] in the cluster's settings, else set image-cache to a folder of your own"
      return 1
    fi
    mode=$((16#$mode))
    if [ $((mode & 0170000)) != $((0100000)) ]; then
      [ $((mode & 02)) = 0 ] || [ $((mode & 01000)) != 0 ] || {
        image_fault="everybody may write to the folder of images $path; run 'chmod o-w $path', or set image-cache to another folder"
        return 1
      }
    elif [ $((mode & 022)) != 0 ]; then
      [ "$owner" = "$EUID" ] || {
        image_fault="others may write to the image $path; let its owner $(owner_of "$path") remove it, or set image-cache to another folder"
        return 1
      }
      replace_by_copy "$path" "$2" || return
    fi
  done
  others_can_change "$file" || return 0
  identity=$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file") || { image_fault="cannot look at $file" && return 1; }
  known=$(verified_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$identity"$'\n'*) return 0 ;; esac
  fi
  now=$(date +%s)
  is_the_image "$file" "$2" || return
  [ "$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file")" = "$identity" ] || { image_fault="the image $file changed while it was read" && return 1; }
  [ -n "$known" ] || return 0
  read -r _ _ _ changed altered <<<"$identity"
  if [ "${changed%.*}" -le $((now - 2)) ] && [ "${altered%.*}" -le $((now - 2)) ]; then
    { printf '%s\n' "$identity" >>"$known/$2"; } 2>/dev/null || true
  fi
}
