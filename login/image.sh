# --- login/image.sh: provide the image as $cache/SHA256.sif, once for all runs. $image_from tells where a missing image is taken from.
image=$cache/$sha256.sif

record_image() {
  printf '%s\n' "$image" | write "$run/image" || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
}
ensure_image() {
  if [ "$cache_limit" = 0 ]; then record_image; else record_image_use; fi
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
    return 0
  fi
  [ "$cache_limit" = 0 ] || make_room || true
  case $image_from in
    registry) pull_once ;;
    job) say "the job pulls the image: ${image_source:-$image}" ;;
    upload) ;; # see ensure_uploads
    *) die 11 "the image $sha256 is not in $cache, and it was never pushed to a registry: run 'hpcdeploy push', then submit again" ;;
  esac
}
