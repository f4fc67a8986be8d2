# --- login/cache.sh: remove old images, so that the image cache has at most $cache_limit bytes.

# Record that this run uses the image. This is done under the lock of make_room, which then does not remove the image.
record_image_use() {
  local room_lock
  open_lock "$cache/.room.lock" || die 10 "cannot open $cache/.room.lock, the lock for removing old images"
  room_lock=$opened
  flock --shared "$room_lock"
  record_image
  exec {room_lock}>&-
  # Set the image's time, because the least recently used images are removed first. For an image that others can change this is done only
  # once a day, because its sha256 must be compared again after each change of its time.
  if ! others_can_change "$image" || [ -n "$(find "$image" -mmin +1440 2>/dev/null)" ]; then touch --no-create -- "$image" 2>/dev/null || true; fi
}

# Print the images of the runs of this root that may need them: runs that a scheduler knows, and runs of the last day that have no job yet.
# Fail if a scheduler cannot be queried.
images_in_use() {
  local names="" name record
  for name in "${schedulers[@]}"; do
    case $name in
      slurm) names+=$(squeue --all --noheader --user="$(id -un)" --format=%j)$'\n' || return ;;
      htcondor) names+=$(condor_q -nobatch -constraint 'HpcdeployRun =!= undefined' -autoformat HpcdeployRun)$'\n' || return ;;
    esac
  done
  while IFS= read -r name; do
    case $name in */*) continue ;; esac
    # Later chunks of a large array are called RUN.NUMBER.
    for record in "$root/runs/$name/image" "$root/runs/${name%.*}/image"; do [ ! -r "$record" ] || cat -- "$record"; done
  done <<<"$names"
  while IFS= read -r -d '' record; do
    [ -L "${record%/image}/id" ] || cat -- "$record"
  done < <(find "$root/runs" -mindepth 2 -maxdepth 2 -name image -mmin -1440 -print0)
}

# List incomplete files of other images. They belong to a transfer that is in progress, or was abandoned.
unfinished() {
  find "$cache" -maxdepth 1 -type f -regextype posix-extended -regex '.*/\.[0-9a-f]{64}\.(([0-9]+\.)?parcel|records|ranges|([0-9A-Za-z]+\.)?part|sif\..*)' ! -name ".$sha256.*" "$@"
}

# Remove the least recently used images until there is room for this image. Images in use are kept, and so are images that were built here,
# because they may not be in a registry. Incomplete files are removed after a day without progress.
make_room() (
  total=0
  # This subshell releases the lock at its end. ensure_image records the use of an image under the same lock.
  open_lock "$cache/.room.lock"
  flock "$opened"
  while read -r bytes; do total=$((total + bytes)); done < <(
    unfinished -printf '%s\n'
    find "$cache" -maxdepth 1 -name '*.sif' -printf '%s\n'
  )
  [ $((total + image_size)) -gt "$cache_limit" ] || return 0
  if [ "$image_size" -gt "$cache_limit" ]; then
    say "this image alone ($((image_size / 1000000)) MB) is more than image-cache-size allows: none is removed for it"
    return 0
  fi
  while read -r file; do
    bytes=$(stat -c %s -- "$file") && rm -f -- "$file" && total=$((total - bytes))
  done < <(unfinished -mmin +1440)
  used=$(images_in_use) || {
    say "the images exceed image-cache-size, but a scheduler could not be queried for those in use: none is removed"
    return 0
  }
  while read -r bytes file; do
    [ $((total + image_size)) -gt "$cache_limit" ] || break
    [[ ${file##*/} =~ ^[0-9a-f]{64}\.sif$ ]] || continue
    case $'\n'$used$'\n' in *$'\n'"$file"$'\n'*) continue ;; esac
    [ ! -e "${file%.sif}.json" ] || continue
    rm -f -- "$file" || continue
    total=$((total - bytes))
    say "removed the image ${file##*/} ($((bytes / 1000000)) MB), the least recently used, to keep image-cache-size"
  done < <(find "$cache" -maxdepth 1 -name '*.sif' -printf '%T@ %s %p\n' | sort -n | cut -d ' ' -f 2-)
  [ $((total + image_size)) -le "$cache_limit" ] ||
    say "the images exceed image-cache-size: the others are in use, or were built here"
)
