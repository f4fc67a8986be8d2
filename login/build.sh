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

image_exists() {
  local sha256
  [ -s "$folder/sha256" ] || return
  sha256=$(<"$folder/sha256")
  [ -e "$cache/$sha256.sif" ] && [ -s "$cache/$sha256.json" ] && trusted "$(stat -Lc %u -- "$cache/$sha256.json")" || return
  check_image "$cache/$sha256.sif" "$sha256" "$root" || die 10 "$image_fault"
}
answer_image() {
  local sha256
  sha256=$(<"$folder/sha256")
  answer "\"state\": \"built\", \"reused\": $1, \"path\": $(json "$cache/$sha256.sif"), \"image\": $(<"$cache/$sha256.json")"
}

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
if image_exists; then
  say "these inputs were built before"
  answer_image true
  return
fi

# Reject special characters in the path of temporary files, because Apptainer writes the path without quotes into a shell script
# (cmd/internal/cli/inspect.go) and into an option --bind.
case $within in
  *["()'\",;&|\`\$<>:^"]* | *[[:blank:]]"#"*) die 10 "Apptainer cannot build in $within (\"could not inspect container\"): set \
tmp in the cluster's settings, or ${prefix}_TMPDIR in its setup, to a folder without any of ( ) ' \" , ; & | \` \$ < > : ^ and ' #'" ;;
esac
version=$("$apptainer" --version)
if [ ! -e "$folder/context.tar" ] || [ "$(sha256sum <"$folder/context.tar")" != "$context_sha256  -" ]; then
  answer "\"state\": \"context\", \"put\": $(json "$folder/context.tar"), \"apptainer\": $(json "$version")"
  return
fi

trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p -- "$within" "$folder/context"
make_temporary "$within" "build-${inputs:0:16}"
printf '%s\n' "$temporary" >"$folder/temporary"
part=$(mktemp -u -- "$cache/.$inputs.XXXXXXXXXX.part")
# Only a registry on loopback is used without TLS.
[ "$plain_http" = no ] || export "${prefix}_NOHTTPS=1"
own_cache=${prefix}_CACHEDIR
export "${prefix}_TMPDIR=$temporary" "$own_cache=${!own_cache:-$root/cache}" TMPDIR="$temporary"
unset "${prefix}_BIND" "${prefix}_BINDPATH"
options=()
for argument in ${build_args[@]+"${build_args[@]}"}; do options+=(--build-arg "$argument"); done
# The value follows a "=": with a separate value, Apptainer 1.4.5 deletes letters of it. Older versions lack this option.
case $("$apptainer" build --help 2>/dev/null) in *--mksquashfs-args*) options+=("--mksquashfs-args=$compression") ;; esac
[ "$has_secrets" = no ] || start_serving

# Build with umask 022, because folders that the build makes have the umask's mode in the image too.
code=0
(
  [ "$has_secrets" = no ] || exec {serving}>&-
  umask 022 && cd -- "$folder/context" && tar -xf ../context.tar &&
    "$apptainer" build ${options[@]+"${options[@]}"} "$part" image.def
) >&2 </dev/null || code=$?
[ "$has_secrets" = no ] || stop_serving
[ "$code" = 0 ] || die 12 "the build failed (exit status $code); Apptainer's message is above"

# Reject an image whose environment script exits with 0 before a program starts: %test and every job would seem to succeed without having run.
# An image that cannot be started here, or whose environment script fails, is accepted, because a job then reports the failure.
start=("$apptainer" exec --no-eval --pwd / "$part" /bin/sh -c "echo HPCDEPLOY_BEGUN")
if output=$("${start[@]}" 2>/dev/null </dev/null) && [[ $output != *HPCDEPLOY_BEGUN* ]]; then
  die 12 "$no_program_begins"
fi

sha256=$(sha256sum <"$part")
sha256=${sha256%% *}
size=$(stat -c %s -- "$part")
record=$(printf '{"name": %s, "sha256": "%s", "size": %s, "inputs": "%s", "apptainer": %s, "created": "%s"}' \
  "$name_json" "$sha256" "$size" "$inputs" "$(json "$version")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
write() { printf '%s\n' "$1" >"$2.part" && mv -f -- "$2.part" "$2"; }
chmod "$(image_mode "$cache")" -- "$part"
mv -f -- "$part" "$cache/$sha256.sif"
write "$record" "$cache/$sha256.json"
write "$sha256" "$folder/sha256"
rm -f -- "$folder/context.tar"
answer_image false
