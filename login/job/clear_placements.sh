# --- login/job/clear_placements.sh: remove the empty files and folders that placements.sh made as mount points, because they are no output.
# This is used only if no other process of the run needs them.
# shellcheck disable=SC2317,SC2329  # the trap calls it
clear_placements() {
  local target
  for target in "${made[@]}"; do
    if [ -d "$target" ]; then rmdir -p -- "$target"; elif [ ! -s "$target" ]; then rm -f -- "$target"; fi
    case $target in */*) rmdir -p -- "${target%/*}" ;; esac
  done 2>/dev/null
}
trap 'rm -rf "$scratch"; clear_placements' EXIT
