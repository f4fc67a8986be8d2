# --- login/job/placements.sh: mount uploaded files ($placements: path below the root, path in the container, folder or file of each) for
# reading only. A mount in the working folder needs a file or folder to mount on.
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
