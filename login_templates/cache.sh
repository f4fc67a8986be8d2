# The cache is to hold no more than [= (cache_size // 1000000) =] MB, so that a quota is not filled by images of the past.

# Prints the images that runs of this root may still want: those of runs that a scheduler has, and of runs that were begun in the
# last day and have no job yet. Fails where a scheduler cannot be asked.
images_in_use() {
  local names name begun
  names=""
[% for name in schedulers %]
[% if name == "slurm" %]
  names+=$(squeue --all --noheader --user="$(id -un)" --format=%j)$'\n' || return
[% else %]
  names+=$(condor_q -nobatch -constraint 'HpcdeployRun =!= undefined' -autoformat HpcdeployRun)$'\n' || return
[% endif %]
[% endfor %]
  while IFS= read -r name; do
    case $name in */*) continue ;; esac
    # The later parts of a large array are called RUN.NUMBER.
    for begun in "$root/runs/$name/image" "$root/runs/${name%.*}/image"; do [ ! -r "$begun" ] || cat -- "$begun"; done
  done <<<"$names"
  while IFS= read -r -d '' begun; do
    [ -L "${begun%/image}/id" ] || cat -- "$begun"
  done < <(find "$root/runs" -mindepth 2 -maxdepth 2 -name image -mmin -1440 -print0)
}

# Lists what came of other images and is not whole: a transfer that is alive, or one that nobody went on with.
unfinished() {
  find "$cache" -maxdepth 1 -type f -regextype posix-extended -regex '.*/\.[0-9a-f]{64}\.(([0-9]+\.)?parcel|([0-9A-Za-z]+\.)?part|sif\..*)' ! -name ".$sha256.*" "$@"
}

# Removes the least recently used images until there is room for this one. Images that were built here stay: no registry may
# have them. So do those in use. What is not whole goes when nobody went on with it for a day.
make_room() (
  total=0
  # The lock goes with this shell of its own. Whoever is about to use an image notes that under the same lock: see ensure_image.
  open_lock "$cache/.room.lock"
  flock "$opened"
  while read -r bytes; do total=$((total + bytes)); done < <(
    unfinished -printf '%s\n'
    find "$cache" -maxdepth 1 -name '*.sif' -printf '%s\n'
  )
  [ $((total + [= size =])) -gt [= cache_size =] ] || return 0
[% if size > cache_size %]
  say "this image alone ([= (size // 1000000) =] MB) is more than image-cache-size allows: none is removed for it"
  return 0
[% else %]
  while read -r file; do
    bytes=$(stat -c %s -- "$file") && rm -f -- "$file" && total=$((total - bytes))
  done < <(unfinished -mmin +1440)
  used=$(images_in_use) || {
    say "the images are over image-cache-size, but a scheduler could not be asked which of them are in use: none is removed"
    return 0
  }
  while read -r bytes file; do
    [ $((total + [= size =])) -gt [= cache_size =] ] || break
    [[ ${file##*/} =~ ^[0-9a-f]{64}\.sif$ ]] || continue
    case $'\n'$used$'\n' in *$'\n'"$file"$'\n'*) continue ;; esac
    [ ! -e "${file%.sif}.json" ] || continue
    rm -f -- "$file" || continue
    total=$((total - bytes))
    say "removed the image ${file##*/} ($((bytes / 1000000)) MB), the least recently used, to keep image-cache-size"
  done < <(find "$cache" -maxdepth 1 -name '*.sif' -printf '%T@ %s %p\n' | sort -n | cut -d ' ' -f 2-)
  [ $((total + [= size =])) -le [= cache_size =] ] ||
    say "the images take more than image-cache-size allows: the others are in use, or were built here"
[% endif %]
)
