[% set limited = cache_size and (scheduler == "slurm" or not in_job) %]
# The image, once for everybody: in $cache under its own sha256.
sha256=[= sha256 =]
image=$cache/$sha256.sif

[% if reference and not in_job %]
cannot_pull() { local code=$1; shift; say "[= '' if brought else 'error: ' =]$*"; return "$code"; }

[% if brought %]
# A firewall may let every attempt hang for minutes. Where a proxy is set, it speaks for this machine, and only a pull can tell.
registry_answers() {
  [ -z "${https_proxy-}${HTTPS_PROXY-}${http_proxy-}${HTTP_PROXY-}${all_proxy-}${ALL_PROXY-}" ] || return 0
  timeout 10 bash -c [= ('exec 3<>/dev/tcp/' ~ registry_host ~ '/' ~ registry_port) | word =] 2>/dev/null
}

[% endif %]
[% include "login_templates/make_temporary.sh" %]

[% include "login_templates/image_mode.sh" %]

# Called where a failure does not end the script by itself: so each is seen to.
pull_image() {
  local part temporary pulse code=0
  command -v [= apptainer | word =] >/dev/null || {
    cannot_pull 10 "[= apptainer =] is not on this machine's PATH; add what brings it (module load ...) to the cluster's setup"
    return
  }
[% if brought %]
  registry_answers || {
    cannot_pull 11 "this machine does not reach [= registry_host =] port [= registry_port =]"
    return
  }
[% endif %]
  # What pulls that were killed have left.
  for part in "$cache/.$sha256".*part; do [ ! -O "$part" ] || rm -f -- "$part"; done
  find "$tmp" -mindepth 1 -maxdepth 1 -name 'pull-????????' -user "$EUID" -mmin +1440 -exec rm -rf -- {} + 2>/dev/null || true
  # Apptainer's own cache and temporary files stay out of $HOME, whose quota they would fill ($HOME/.apptainer/cache).
  make_temporary "$tmp" pull
  mkdir -- "$temporary/cache" || die 10 "cannot make a folder in $tmp; make room there (a full disk, or your quota)"
  # Nobody can foresee the name: where others may write to the folder, one could put a link there.
  part=$(mktemp -u -- "$cache/.$sha256.XXXXXXXXXX.part")
  say "pulling the image [= reference =]"
  # Its sleep ends with it: else that would keep the connection open for as long.
  {
    trap 'kill "$!"; exit' TERM
    while sleep 5 & wait "$!"; do
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
    cannot_pull 11 "the image could not be pulled (exit status $code); Apptainer's own words are above." \
      "If the registry wants a password, run on this machine: [= apptainer =] registry login"
    return
  fi
  if [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    rm -f -- "$part"
    die 11 "the image that came is not the one that was asked for: its sha256 is not $sha256"
  fi
  { chmod "$(image_mode "$cache")" -- "$part" && mv -f -- "$part" "$image"; } || die 11 "cannot write $image"
}

[% endif %]
[% if limited or (reference and not in_job) %]
[% include "login_templates/open_lock.sh" %]

[% endif %]
[% if limited %]
[% include "login_templates/cache.sh" %]

[% endif %]
ensure_image() {
[% if limited %]
  local room_lock
  open_lock "$cache/.room.lock" || die 10 "cannot open $cache/.room.lock, by which runs take turns in that folder"
  room_lock=$opened
  flock --shared "$room_lock"
[% endif %]
  printf '%s\n' "$image" | write "$run/image" || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
[% if limited %]
  exec {room_lock}>&-
  # The least recently used are the first to go. An image that others can have written would be read anew after each touch.
  if ! others_can_change "$image" || [ -n "$(find "$image" -mmin +1440 2>/dev/null)" ]; then touch --no-create -- "$image" 2>/dev/null || true; fi
[% endif %]
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
    return 0
  fi
[% if limited %]
  make_room || true
[% endif %]
[% if in_job %]
  say "the image is pulled by the job: [= '$image' if scheduler == 'slurm' else fetched_from =]"
[% elif reference %]
  local image_lock
  open_lock "$cache/.$sha256.lock" || die 10 "cannot open $cache/.$sha256.lock, by which runs take turns in pulling the image"
  image_lock=$opened
  flock --nonblock "$image_lock" || { say "another run is pulling the image; waiting for it"; flock "$image_lock"; }
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
  else
    pull_image || [= 'say "so hpcdeploy is to bring the image"' if brought else '{ local code=$?; set +e; exit "$code"; }' =]
  fi
  exec {image_lock}>&-
[% elif not brought %]
  die 11 "the image $sha256 is not in $cache, and it was never pushed to a registry: run 'hpcdeploy push', then submit again"
[% endif %]
}
