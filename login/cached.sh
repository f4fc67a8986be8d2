# --- login/cached.sh: list what hpcdeploy keeps on this cluster ($action list), remove the items $wanted of that list (remove), or compare the
# images with their checksums (verify). An item is a line "KIND VERDICT KIB TIME NAME JSON". Only files of this user are listed. Files that a
# site has purged are no error.
export LC_ALL=C
shopt -s nullglob
for program in flock sha256sum find; do
  command -v "$program" >/dev/null || die 10 "$program is not on this machine"
done
case $root$cache in *[$'\n']*) die 10 "the cluster's root or image-cache contains a line break; set another one" ;; esac

# Test whether a scheduler knows a run whose folder is in another root: it is unknown which image this run needs. A
# scheduler that cannot be queried may know such a run too.
others_queue() {
  local names="" name
  for name in "${schedulers[@]}"; do
    case $name in
      slurm) names+=$(squeue --all --noheader --user="$(id -un)" --format=%j)$'\n' || return 0 ;;
      htcondor) names+=$(condor_q -nobatch -constraint 'HpcdeployRun =!= undefined' -autoformat HpcdeployRun)$'\n' || return 0 ;;
    esac
  done
  while IFS= read -r name; do
    [[ $name =~ -[0-9a-f]{10}(\.[0-9]+)?$ ]] && [ ! -d "$root/runs/$name" ] && [ ! -d "$root/runs/${name%.*}" ] && return 0
  done <<<"$names"
  return 1
}
in_use() { if [ -d "$root/runs" ]; then images_in_use; fi; }

# Print one item: KIND VERDICT PATH NAME [FILE with JSON]. Nothing is printed for a path that does not exist any more.
item() {
  local kib time json=""
  { read -r kib _ < <(du -skx -- "$3" 2>/dev/null) && time=$(stat -c %Y -- "$3" 2>/dev/null); } || return 0
  [ $# -lt 5 ] || { json=$(head -c 4000 -- "$5" 2>/dev/null | tr -d '\0\n') || json=""; }
  printf '%s %s %s %s %s %s\n' "$1" "$2" "$kib" "$time" "$4" "$json"
}
# Test whether another process holds the lock file $1.
is_locked() {
  local lock
  [ -f "$1" ] || return 1
  { exec {lock}<"$1"; } 2>/dev/null || return 1
  if flock --nonblock "$lock"; then exec {lock}<&-; return 1; fi
  exec {lock}<&-
}
is_building() {
  local lock
  for lock in "$root"/builds/*/lock; do ! is_locked "$lock" || return 0; done
  return 1
}

# Print the verdict on the image file $1: "used" by a queued or running job, "shared" with a group, whose jobs are not known, "unknown" if
# the jobs are unknown, else "free".
image_verdict() {
  if [ "$used" = unknown ]; then
    echo unknown
  elif [[ $'\n'$used$'\n' == *$'\n'"$1"$'\n'* ]]; then
    echo used
  elif [ "$(image_mode "$cache")" = 0640 ]; then
    echo shared
  else
    echo free
  fi
}

list_items() {
  local path folder verdict
  for path in "$cache"/*.sif; do
    [[ ${path##*/} =~ ^[0-9a-f]{64}\.sif$ ]] && [ -O "$path" ] && item image "$(image_verdict "$path")" "$path" "${path##*/}" "${path%.sif}.json"
  done
  # An image that a call renamed which was killed. The next removal gives it its name back first.
  for path in "$cache"/.*.sif.removing; do
    folder=${path##*/.}
    folder=${folder%.removing}
    [ ! -O "$path" ] || [ -e "$cache/$folder" ] || item image "$(image_verdict "$cache/$folder")" "$path" "$folder" "$cache/${folder%.sif}.json"
  done
  while IFS= read -r -d '' path; do
    item unfinished free "$path" "${path##*/}"
  done < <(unfinished -mmin +1440 -user "$EUID" ! -name '*.removing' -print0)
  for path in "$cache"/damaged/*.sif; do [ ! -O "$path" ] || item damaged free "$path" "${path#"$cache"/}"; done
  for path in "$root"/environments/*.sif; do
    folder=${path##*/}
    [[ $folder =~ ^[0-9a-f]{64}\.sif$ ]] && [ -O "$path" ] || continue
    verdict=free
    ! is_locked "${path%.sif}.lock" || verdict=used
    item environment "$verdict" "$path" "$folder"
  done
  for path in "$root"/environments/damaged/*.sif; do [ ! -O "$path" ] || item damaged free "$path" "environments/${path##*/}"; done
  for folder in "$root"/downloads/*/; do
    folder=${folder%/}
    [[ ${folder##*/} =~ ^[0-9a-f]{32}$ ]] && [ ! -L "$folder" ] && [ -O "$folder" ] && [ -d "$folder/files" ] || continue
    verdict=free
    ! is_locked "$folder/lock" || verdict=used
    item downloads "$verdict" "$folder" "${folder##*/}" "$folder/about.json"
  done
  for folder in "$root"/builds/*/; do
    folder=${folder%/}
    [ -e "$folder/context.tar" ] || [ -e "$folder/code.tar" ] || [ -e "$folder/context" ] || [ -e "$folder/temporary" ] || continue
    verdict=free
    ! is_locked "$folder/lock" || verdict=used
    item unfinished "$verdict" "$folder" "${folder##*/}"
  done
  if [ -d "$root/cache" ]; then
    verdict=free
    ! is_building || verdict=used
    item layers "$verdict" "$root/cache" cache
  fi
  return 0
}

# Remove the folder $1, of which a build may have made parts read-only.
remove_tree() {
  rm -rf --one-file-system -- "$1" 2>/dev/null && return
  find "$1" -xdev -type d ! -perm -u=rwx -exec chmod u+rwx -- {} + 2>/dev/null || true
  rm -rf --one-file-system -- "$1"
}
report() { if [ -e "$3" ]; then echo "$1 failed 0 0 $2"; else echo "$1 removed 0 0 $2"; fi; }

# Remove the wanted images that no job uses. A submission records its image before it tests whether the image exists. So each image is renamed
# first, and gets its name back if a run needs it by then.
remove_images() {
  local name path moved=()
  for path in "$cache"/.*.sif.removing; do
    [ ! -O "$path" ] || restore "$path"
  done
  for name in ${images[@]+"${images[@]}"}; do
    path=$cache/$name
    if [ ! -O "$path" ]; then echo "image gone 0 0 $name"; continue; fi
    [ "$(image_verdict "$path")" = free ] || { echo "image $(image_verdict "$path") 0 0 $name" && continue; }
    mv -T -- "$path" "$cache/.$name.removing" && moved+=("$name")
  done
  used=$(in_use) || used=unknown
  for name in ${moved[@]+"${moved[@]}"}; do
    if [ "$(image_verdict "$cache/$name")" != free ]; then
      restore "$cache/.$name.removing"
      echo "image $(image_verdict "$cache/$name") 0 0 $name"
    else
      [ -e "$cache/$name" ] || rm -f -- "$cache/${name%.sif}.json" "$root/verified/${name%.sif}"
      rm -f -- "$cache/.$name.removing" || true
      report image "$name" "$cache/.$name.removing"
    fi
  done
}
restore() {
  local name=${1##*/.}
  name=${name%.removing}
  if [ -e "$cache/$name" ]; then rm -f -- "$1"; else mv -T -- "$1" "$cache/$name"; fi
}

# Remove the wanted folders of downloads and of unfinished builds, each while its lock is held, so that no build uses it.
remove_folders() {
  local kind=$1 label=$2 folder lock name
  shift 2
  for name in "$@"; do
    folder=$root/$kind/$name
    [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ] || { echo "$label gone 0 0 $name" && continue; }
    { exec {lock}>>"$folder/lock"; } 2>/dev/null || { echo "$label failed 0 0 $name" && continue; }
    if ! flock --nonblock "$lock"; then
      exec {lock}>&-
      echo "$label used 0 0 $name"
      continue
    fi
    case $kind in
      downloads) remove_tree "$folder/files" && rm -f -- "$folder/about.json" "$folder/mounted" || true ;;
      builds) { remove_tree "$folder/context" && rm -f -- "$folder/context.tar" "$folder/code.tar" "$folder/temporary"; } || true ;;
    esac
    # The lock file stays: a build that waits for it must find the same file.
    if [ "$kind" = downloads ]; then report "$label" "$name" "$folder/files"; else report "$label" "$name" "$folder/context"; fi
    exec {lock}>&-
  done
}

remove_environments() {
  local name stem lock
  for name in "$@"; do
    stem=$root/environments/${name%.sif}
    [ -O "$stem.sif" ] || { echo "environment gone 0 0 $name" && continue; }
    { exec {lock}>>"$stem.lock"; } 2>/dev/null || { echo "environment failed 0 0 $name" && continue; }
    if flock --nonblock "$lock"; then
      rm -f -- "$stem.report" "$stem.sha256" "$stem.tools" "$stem.sif" || true
      report environment "$name" "$stem.sif"
    else
      echo "environment used 0 0 $name"
    fi
    exec {lock}>&-
  done
}

remove_items() {
  local images=() environments=() downloads=() builds=() layers=no entry name
  for entry in ${wanted[@]+"${wanted[@]}"}; do
    name=${entry#* }
    case $entry in
      "image "*) [[ $name =~ ^[0-9a-f]{64}\.sif$ ]] && images+=("$name") ;;
      "environment "*) [[ $name =~ ^[0-9a-f]{64}\.sif$ ]] && environments+=("$name") ;;
      "damaged environments/"*)
        [[ ${name#environments/} =~ ^[0-9a-f]{64}\.sif$ ]] && rm -f -- "$root/environments/damaged/${name#*/}" &&
          report damaged "$name" "$root/environments/damaged/${name#*/}"
        ;;
      "downloads "*) [[ $name =~ ^[0-9a-f]{32}$ ]] && downloads+=("$name") ;;
      "layers cache") layers=yes ;;
      "damaged damaged/"*) [[ ${name#damaged/} =~ ^[0-9a-f]{64}\.sif$ ]] && rm -f -- "$cache/$name" "$cache/${name%.sif}.json" && report damaged "$name" "$cache/$name" ;;
      "unfinished ."*) [[ $name =~ ^\.[0-9a-zA-Z._-]+$ ]] && [ -n "$(unfinished -mmin +1440 -user "$EUID" -name "$name" -print)" ] && rm -f -- "$cache/$name" && report unfinished "$name" "$cache/$name" ;;
      "unfinished "*) [[ $name =~ ^[0-9a-f]{64}$ ]] && builds+=("$name") ;;
    esac
  done
  remove_images
  remove_environments ${environments[@]+"${environments[@]}"}
  remove_folders downloads downloads ${downloads[@]+"${downloads[@]}"}
  remove_folders builds unfinished ${builds[@]+"${builds[@]}"}
  if [ "$layers" = yes ]; then
    if is_building; then echo "layers used 0 0 cache"; else remove_tree "$root/cache" || true; report layers cache "$root/cache"; fi
  fi
}

# Compare the environment $1 with its recorded sha256, unless a build uses it.
verify_environment() {
  local path=$1 name=${1##*/} sha256 lock
  [[ $name =~ ^[0-9a-f]{64}\.sif$ ]] && [ -O "$path" ] || return 0
  { exec {lock}>>"${path%.sif}.lock"; } 2>/dev/null || return 0
  if ! flock --nonblock "$lock"; then
    item environment used "$path" "$name"
  else
    sha256=$(cat -- "${path%.sif}.sha256" 2>/dev/null) || sha256=none
    [[ $sha256 =~ ^[0-9a-f]{64}$ ]] && rm -f -- "$root/verified/$sha256"
    if is_intact "$path" "$sha256" "$root"; then
      item environment intact "$path" "$name"
    elif [ "$listing" = yes ]; then
      item environment damaged "$path" "$name"
    elif move_aside "$path"; then
      rm -f -- "${path%.sif}.sha256" "${path%.sif}.report"
      echo "environment moved 0 0 $name"
    fi
  fi
  exec {lock}>&-
}
verify_images() {
  local path name
  for path in "$root"/environments/*.sif; do verify_environment "$path"; done
  for path in "$cache"/*.sif; do
    name=${path##*/}
    [[ $name =~ ^[0-9a-f]{64}\.sif$ ]] && [ -O "$path" ] || continue
    rm -f -- "$root/verified/${name%.sif}"
    if is_intact "$path" "${name%.sif}" "$root"; then
      item image intact "$path" "$name"
    elif [ ! -e "$path" ]; then
      continue
    elif [ "$listing" = yes ]; then
      item image damaged "$path" "$name"
    elif move_aside "$path"; then
      echo "image moved 0 0 $name"
    else
      echo "image failed 0 0 $name"
    fi
  done
}

sha256=none # for `unfinished`, which leaves out the files of one image
if [ -d "$root" ]; then
  [ -n "$(find -H "$root" -maxdepth 0 \( -user "$EUID" -o -user 0 \) \( ! -perm /022 -o -perm -1000 \))" ] ||
    die 10 "others may exchange what is in $root; run 'chmod go-w $root', or set root in the cluster's settings to a folder of your own"
fi
if [ "$action" = remove ] && [ -d "$cache" ]; then
  open_lock "$cache/.room.lock" # ensure_image and make_room hold this lock while they decide about images
  flock "$opened"
fi
used=""
if [ "$action" != verify ]; then
  if ! used=$(in_use) || others_queue; then used=unknown; fi
fi
case $action in
  list) section items list_items ;;
  remove) section items remove_items ;;
  verify) section items verify_images ;;
esac
