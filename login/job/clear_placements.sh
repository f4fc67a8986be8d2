# --- login/job/clear_placements.sh: remove at the end what was made only to be mounted on; it is no output. Other processes of the run
# would need it.
# shellcheck disable=SC2317,SC2329  # the trap calls it
clear_placements() {
  local target
  for target in "${made[@]}"; do
    if [ -d "$target" ]; then rmdir -p -- "$target"; elif [ ! -s "$target" ]; then rm -f -- "$target"; fi
    case $target in */*) rmdir -p -- "${target%/*}" ;; esac
  done 2>/dev/null
}
trap 'rm -rf "$scratch"; clear_placements' EXIT
