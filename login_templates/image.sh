# The image, once for everybody: in $root/images under its own sha256.
sha256=[= sha256 =]
image=$root/images/$sha256.sif

[% if reference %]
pull_image() {
  local part=$root/images/.$sha256.part temporary pulse code=0
  command -v [= apptainer | word =] >/dev/null ||
    die 10 "[= apptainer =] is not on this machine's PATH; add what brings it (module load ...) to the cluster's setup"
  rm -f -- "$part"
  # Apptainer's own cache and temporary files stay out of $HOME, whose quota they would fill ($HOME/.apptainer/cache).
  temporary=$(mktemp -d -- "$root/tmp/pull-XXXXXXXX")
  mkdir -- "$temporary/cache"
  say "pulling the image [= reference =]"
  {
    while sleep 5; do
      say "  $(($(stat -c %s -- "$part" 2>/dev/null || echo 0) / 1000000)) of [= (size // 1000000) =] MB"
    done
  } {run_lock}>&- {image_lock}>&- &
  pulse=$!
  APPTAINER_CACHEDIR=$temporary/cache APPTAINER_TMPDIR=$temporary TMPDIR=$temporary \
    [= apptainer | word =] pull --disable-cache[% if plain_http %] --no-https[% endif %] \
    "$part" [= reference | word =] >&2 || code=$?
  kill "$pulse" 2>/dev/null || true
  wait "$pulse" 2>/dev/null || true
  rm -rf -- "$temporary"
  if [ "$code" != 0 ]; then
    rm -f -- "$part"
    die 11 "the image could not be pulled (exit status $code); Apptainer's own words are above." \
      "If the registry wants a password, run on this machine: [= apptainer =] registry login"
  fi
  if [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    rm -f -- "$part"
    die 11 "the image that came is not the one that was asked for: its sha256 is not $sha256"
  fi
  chmod 0600 -- "$part"
  mv -f -- "$part" "$image"
}

[% endif %]
ensure_image() {
  [ ! -e "$image" ] || return 0
[% if reference %]
  local image_lock
  exec {image_lock}>"$root/images/.$sha256.lock"
  flock --nonblock "$image_lock" || { say "another run is pulling the image; waiting for it"; flock "$image_lock"; }
  [ -e "$image" ] || pull_image
  exec {image_lock}>&-
[% elif not brought %]
  die 11 "the image $sha256 is not in $root/images, and it was never pushed to a registry: run 'hpcdeploy push', then submit again"
[% endif %]
}
