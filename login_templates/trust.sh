[% include "login_templates/owners.sh" %]

# Whether $1 is a folder of ours, and no link, to which nobody else can write.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Whether anybody but us and root can have written the file $1 or put another one in its place: by the owner and mode of the file, and of
# each folder and link on the way to it. In a folder with the sticky bit nobody removes or renames what others own (rename(2), EPERM); but
# a file of ours may get a second name there, where fs.protected_hardlinks is 0 (proc_sys_fs(5)), so a file with several names counts.
others_can_change() {
  local rest=$1 name here mode owner names target paths parts number shared links=0
  while :; do
    case $rest/ in */../*) return 0 ;; esac
    paths=(/) here=""
    IFS=/ read -r -d '' -a parts <<<"$rest" || true
    for name in "${parts[@]}"; do
      name=${name%$'\n'}
      case $name in "" | .) ;; *) here+=/$name && paths+=("$here") ;; esac
    done
    number=0 target="" shared=""
    while read -r mode owner names; do
      case $owner in "$EUID" | 0) ;; *) return 0 ;; esac
      mode=$((16#$mode))
      case $((mode & 0170000)) in
        $((0040000))) ;;
        *) [ -z "$shared" ] || [ "$names" = 1 ] || return 0 ;;
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

# Prints the folder in which this person's own root remembers images that were compared with their sha256; fails where others can write to it.
remembered_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Compares the image $1 with its sha256 $2; if it is another one, image_fault says so.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 is not the one that its name says: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). Remove it, or \
set image-cache to a folder of your own"
  return 1
}

# Puts a copy in place of the image $1, which is ours and to which others may write: one who has it open could change it while a job runs.
take_back() {
  local part
  { part=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$part"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$part" "$2" && chmod --reference="$1" -- "$part" && chmod go-w -- "$part" && mv -f -- "$part" "$1" && return
  rm -f -- "$part"
  image_fault="others may write to the image $1, and it is not the one that its name says; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: whether the image is one to run; if not, image_fault says why. It has to belong to somebody whom we trust,
# as its folder has, and nobody else may write to it. What others can have put there is compared with its sha256. That is remembered by what
# changes with every change of the file: device, inode, size, and the times of the last change of content and inode. A file that was changed
# in the last two seconds is not remembered: clocks of file systems tick, and a second change in one tick leaves no trace.
check_image() {
  local file=$1 path mode owner now known="" sign changed altered
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
      take_back "$path" "$2" || return
    fi
  done
  others_can_change "$file" || return 0
  sign=$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file") || { image_fault="cannot look at $file" && return 1; }
  known=$(remembered_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$sign"$'\n'*) return 0 ;; esac
  fi
  now=$(date +%s)
  is_the_image "$file" "$2" || return
  [ "$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file")" = "$sign" ] || { image_fault="the image $file changed while it was read" && return 1; }
  [ -n "$known" ] || return 0
  read -r _ _ _ changed altered <<<"$sign"
  if [ "${changed%.*}" -le $((now - 2)) ] && [ "${altered%.*}" -le $((now - 2)) ]; then
    { printf '%s\n' "$sign" >>"$known/$2"; } 2>/dev/null || true
  fi
}
