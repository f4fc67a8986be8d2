# --- login/job/placements.sh: mount uploaded files and folders read-only. $placements has three words for each: its path relative to the root,
# its path in the container, and "folder" or "file". In the working folder, a missing mount point is made.
made=()
place() {
  local target=$2
  case $target in
    /*) ;;
    *)
      target=$PWD/$2
      if [ ! -e "$target" ]; then
        made+=("$2")
        if [ "$3" = folder ]; then mkdir -p -- "$target"; else mkdir -p -- "${target%/*}" && : >"$target"; fi || finish 1
      fi
      ;;
  esac
  mounts+=(--mount "type=bind,$(field source "${run%/runs/*}/$1"),$(field destination "$target"),ro")
}
for ((next = 0; next < ${#placements[@]}; next += 3)); do place "${placements[@]:next:3}"; done
