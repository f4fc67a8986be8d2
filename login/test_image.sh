# --- login/test_image.sh: run the image's %test before the first job that uses the image, because the machine that built it could not.
test_image() {
  local marks=$root/tested
  [ ! -e "$marks/$sha256" ] || return 0
  if ! "$apptainer" exec --no-eval --pwd / "$image" /bin/sh -c : >/dev/null 2>&1 </dev/null; then
    say "note: %test of the image has not run anywhere: this login node starts no containers"
    return 0
  fi
  say "running %test of the image"
  "$apptainer" test --no-home --pwd / "$image" >&2 </dev/null ||
    stop 11 "%test of the image failed (its output is above), so nothing was submitted; correct the image and build it again"
  { mkdir -p -- "$marks" && : >"$marks/$sha256"; } || stop 10 "cannot write to $marks; make room there (a full disk, or your quota)"
}
