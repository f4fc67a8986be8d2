# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload the image instead ($can_upload), a failed pull is no error.
cannot_pull() {
  local code=$1
  shift
  if [ "$can_upload" = yes ]; then say "$*"; else say "error: $*"; fi
  return "$code"
}

# Test whether the registry can be reached. This is done before a pull, because behind a firewall a pull may take minutes to fail. With a proxy
# there is no test, because only the proxy connects to the registry.
registry_answers() {
  [ -z "${https_proxy-}${HTTPS_PROXY-}${http_proxy-}${HTTP_PROXY-}${all_proxy-}${ALL_PROXY-}" ] || return 0
  timeout 10 bash -c "exec 3<>/dev/tcp/$registry_host/$registry_port" 2>/dev/null
}

# Pull the image under a lock, so that it is pulled only once if several runs need it.
pull_once() {
  local image_lock code
  open_lock "$cache/.$sha256.lock" || die 10 "cannot open $cache/.$sha256.lock, the lock for pulling the image"
  image_lock=$opened
  flock --nonblock "$image_lock" || { say "another run is pulling the image; waiting for it"; flock "$image_lock"; }
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
  else
    pull_image || {
      code=$?
      if [ "$can_upload" = no ]; then set +e; exit "$code"; fi
      say "so hpcdeploy must upload the image"
    }
  fi
  exec {image_lock}>&-
}

# Pull the image. Each failure is handled here, because set -e has no effect in a function that is called before "||".
pull_image() {
  local part temporary watcher code=0
  command -v "$apptainer" >/dev/null || {
    cannot_pull 10 "$apptainer is not on this machine's PATH; add a line that provides it (module load ...) to the cluster's setup"
    return
  }
  [ "$can_upload" = no ] || registry_answers || {
    cannot_pull 11 "this machine does not reach $registry_host port $registry_port"
    return
  }
  # Remove the files of pulls that were killed.
  for part in "$cache/.$sha256".*part; do [ ! -O "$part" ] || rm -f -- "$part"; done
  find "$tmp" -mindepth 1 -maxdepth 1 -name 'pull-????????' -user "$EUID" -mmin +1440 -exec rm -rf -- {} + 2>/dev/null || true
  # Keep Apptainer's cache and temporary files out of $HOME, whose quota they would fill ($HOME/.apptainer/cache).
  make_temporary "$tmp" pull
  mkdir -- "$temporary/cache" || die 10 "cannot make a folder in $tmp; make room there (a full disk, or your quota)"
  # The name of the file is unpredictable, because others who may write to the folder could put a link at a known name.
  part=$(mktemp -u -- "$cache/.$sha256.XXXXXXXXXX.part")
  say "pulling the image $reference"
  # Show the progress. The trap also ends sleep, which would keep the connection open.
  {
    trap 'kill "$!"; exit' TERM
    while sleep 5 & wait "$!"; do
      say "  $(($(stat -c %s -- "$part" 2>/dev/null || echo 0) / 1000000)) of $((image_size / 1000000)) MB"
    done
  } {run_lock}>&- {image_lock}>&- &
  watcher=$!
  APPTAINER_CACHEDIR=$temporary/cache APPTAINER_TMPDIR=$temporary TMPDIR=$temporary \
    "$apptainer" pull "${pull_options[@]}" "$part" "$reference" >&2 || code=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  rm -rf -- "$temporary"
  if [ "$code" != 0 ]; then
    rm -f -- "$part"
    cannot_pull 11 "the image could not be pulled (exit status $code); Apptainer's message is above." \
      "If the registry needs a password, run on this machine: $apptainer registry login"
    return
  fi
  if [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    rm -f -- "$part"
    die 11 "the registry sent another image: its sha256 is not $sha256"
  fi
  { chmod "$(image_mode "$cache")" -- "$part" && mv -f -- "$part" "$image"; } || die 11 "cannot write $image"
}
