# --- login/build.sh: build the image, unless it was built from the same inputs before.
folder=$root/builds/$inputs
for program in flock tar sha256sum "$apptainer"; do
  command -v "$program" >/dev/null ||
    die 10 "$program is not on this machine's PATH; add a line that provides it (module load ...) to the cluster's setup"
done
mkdir -p -- "$cache" "$root/cache" "$folder" ||
  die 10 "cannot make $folder and $cache; set root and image-cache in the cluster's settings to folders that you may write to"
keep_private "$root/builds" "$root/cache" "$folder"

# Print the line that hpcdeploy parses; a login shell may print other lines before and after this one.
answer() { printf '\nHPCDEPLOY {%s}\n' "$1" || true; }

# Test whether the image of these inputs exists; set existing to its sha256. Releases without keys named the folder of a build differently
# ($former). An image whose content has changed is moved aside.
image_exists() {
  local sha256 from
  for from in "$folder" ${former:+"$root/builds/$former"}; do
    [ -s "$from/sha256" ] || continue
    sha256=$(<"$from/sha256")
    [[ $sha256 =~ ^[0-9a-f]{64}$ ]] || continue
    if [ ! -e "$cache/$sha256.sif" ] || [ ! -s "$cache/$sha256.json" ]; then continue; fi
    trusted "$(stat -Lc %u -- "$cache/$sha256.json")" || continue
    check_image "$cache/$sha256.sif" "$sha256" "$root" || die 10 "$image_fault"
    if ! is_intact "$cache/$sha256.sif" "$sha256" "$root"; then
      move_aside "$cache/$sha256.sif" || die 10 "the image $cache/$sha256.sif is damaged, and cannot be moved; remove it"
      note "the image $sha256 was damaged; it was moved to $cache/damaged"
      continue
    fi
    if [ "$exact_tools" = yes ] && ! has_same_tools "$(<"$cache/$sha256.json")"; then
      note "the image was built with other tools; building it again (--exact-tools)"
      continue
    fi
    existing=$sha256
    return 0
  done
  return 1
}
# Print the names and versions of further tools as JSON.
tools_json() {
  local version
  printf '[["hpcdeploy", %s]' "$(json "$release")"
  version=$(mksquashfs -version 2>/dev/null </dev/null) || version=""
  [[ ! $version =~ mksquashfs\ version\ ([0-9][0-9A-Za-z.-]*) ]] || printf ', ["mksquashfs", %s]' "$(json "${BASH_REMATCH[1]}")"
  printf ']'
}
has_same_tools() { [[ $1 == *"\"apptainer\": $(json "$("$apptainer" --version)"),"* && $1 == *"\"tools\": $(tools_json)"* ]]; }
answer_image() {
  local sha256=$existing
  answer "\"state\": \"built\", \"reused\": $1, \"path\": $(json "$cache/$sha256.sif"), \"image\": $(<"$cache/$sha256.json")"
}

# Write the text $1 to the file $2, atomically.
write() { printf '%s\n' "$1" >"$2.part" && mv -f -- "$2.part" "$2"; }

exec {build_lock}>"$folder/lock"
flock --nonblock "$build_lock" || { say "another build of the same inputs runs; waiting for it"; flock "$build_lock"; }

# APPTAINER_TMPDIR, if the site or the cluster's setup sets it, has precedence over the cluster's tmp.
own_tmp=${prefix}_TMPDIR
within=${!own_tmp:-$tmp}
temporary=""
part=""
clean() {
  [ -z "$temporary" ] || { chmod -R u+rwX -- "$temporary" 2>/dev/null || true; rm -rf -- "$temporary"; }
  rm -rf -- "$folder/context" "$folder/temporary" ${part:+"$part"}
  remove_place
}
# Remove the files of an earlier build that was killed. Each build records the unpredictable name of its temporary folder here.
if [ -s "$folder/temporary" ]; then
  temporary=$(<"$folder/temporary")
  case $temporary in /*/build-"${inputs:0:16}"-????????) is_private "$temporary" || temporary="" ;; *) temporary="" ;; esac
fi
clean
for part in "$cache/.$inputs".*part; do [ ! -O "$part" ] || rm -f -- "$part"; done
temporary=""
part=""

[ "$force" = no ] || rm -f -- "$folder/sha256"
existing=""
if image_exists; then
  say "these inputs were built before"
  answer_image true
  return
fi

# Refuse an image for another processor before anything is uploaded, unless the kernel starts its programs in an emulator (binfmt_misc).
options=()
emulated=false
processor=$(uname -m)
if [ -n "$machine" ] && [ "$processor" != "$machine" ]; then
  case $processor in
    x86_64 | aarch64) advice="; for an image for this processor, set platform = \"linux/$processor\" in the image's settings" ;;
    *) advice="" ;;
  esac
  [ "$(head -n 1 "/proc/sys/fs/binfmt_misc/qemu-$machine" 2>/dev/null)" = enabled ] ||
    die 10 "the image is for linux/$arch ($machine), but this login node is $processor: build it on a cluster whose login node is $machine, \
or on another such machine and push it$advice"
  emulated=true
  options=(--arch "$arch")
fi

# Reject special characters in the path of temporary files, because Apptainer writes the path without quotes into a shell script
# (cmd/internal/cli/inspect.go) and into an option --bind.
case $within in
  *["()'\",;&|\`\$<>:^"]* | *[[:blank:]]"#"*) die 10 "Apptainer cannot build in $within (\"could not inspect container\"): set \
tmp in the cluster's settings, or ${prefix}_TMPDIR in its setup, to a folder without any of ( ) ' \" , ; & | \` \$ < > : ^ and ' #'" ;;
esac
version=$("$apptainer" --version)
find_tools
lock_environment
has_files || return 0

trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p -- "$within"
make_temporary "$within" "build-${inputs:0:16}"
printf '%s\n' "$temporary" >"$folder/temporary"
part=$(mktemp -u -- "$cache/.$inputs.XXXXXXXXXX.part")
# Only a registry on loopback is used without TLS.
[ "$plain_http" = no ] || export "${prefix}_NOHTTPS=1"
own_cache=${prefix}_CACHEDIR
export "${prefix}_TMPDIR=$temporary" "$own_cache=${!own_cache:-$root/cache}" TMPDIR="$temporary"
unset "${prefix}_BIND" "${prefix}_BINDPATH"
for argument in ${build_args[@]+"${build_args[@]}"}; do options+=(--build-arg "$argument"); done
# The value follows a "=": with a separate value, Apptainer 1.4.5 deletes letters of it. Older versions lack this option.
case $("$apptainer" build --help 2>/dev/null </dev/null) in *--mksquashfs-args*) options+=("--mksquashfs-args=$compression") ;; esac
[ -z "$downloads" ] || start_keeping
make_image
[ "$made" = yes ] || return 0

# Reject an image whose environment script exits with 0 before a program starts: %test and every job would seem to succeed without having run.
# An image that cannot be started here, or whose environment script fails, is accepted, because a job then reports the failure.
start=("$apptainer" exec --no-eval --pwd / "$part" /bin/sh -c "echo HPCDEPLOY_BEGUN")
if output=$("${start[@]}" 2>/dev/null </dev/null) && [[ $output != *HPCDEPLOY_BEGUN* ]]; then
  die 12 "$no_program_begins"
fi

sha256=$(sha256sum <"$part")
sha256=${sha256%% *}
size=$(stat -c %s -- "$part")
# The header of a SIF has the architecture at byte 45 (pkg/sif/arch.go of github.com/apptainer/sif).
case $(head -c 47 -- "$part" | tail -c 2) in 02) built_for=amd64 ;; 04) built_for=arm64 ;; *) built_for="" ;; esac
record=$(printf '{"name": %s, "sha256": "%s", "size": %s, "inputs": "%s", "apptainer": %s, "created": "%s", "architecture": "%s"' \
  "$name_json" "$sha256" "$size" "$inputs" "$(json "$version")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$built_for")
record+=$(printf ', "environment": "%s", "builder": "apptainer", "tools": %s}' "$environment" "$(tools_json)")
chmod "$(image_mode "$cache")" -- "$part"
mv -f -- "$part" "$cache/$sha256.sif"
note_intact "$cache/$sha256.sif" "$sha256" "$root" "$(identity_of "$cache/$sha256.sif")"
write "$record" "$cache/$sha256.json"
write "$sha256" "$folder/sha256"
rm -f -- "$folder/context.tar" "$folder/code.tar"
existing=$sha256
answer_image false
