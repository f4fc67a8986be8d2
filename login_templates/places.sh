# What the job brought along is mounted where its program looks for it, for reading only. Where that is in the working folder,
# there must be something to mount it on.
made=()
place() {
  local target=$2
  case $target in
    /*) ;;
    *)
      target=$PWD/$2
      if [ ! -e "$target" ]; then
        made+=("$2")
        if [ "$3" = folder ]; then mkdir -p -- "$target"; else mkdir -p -- "${target%/*}" && : >"$target"; fi || [= "finish" if scheduler == "slurm" else "exit" =] 1
      fi
      ;;
  esac
  mounts+=(--mount "type=bind,$(field source "${run%/runs/*}/$1"),$(field destination "$target"),ro")
}
[% for path, target, kind in mounted %]
place [= path =] [= target =] [= kind =]
[% endfor %]
[% if scheduler == "slurm" and not (workdir or launched) %]
# What was only there to be mounted on is no output. Nobody else has this folder, but where the run has several processes.
# shellcheck disable=SC2317,SC2329
clear_places() {
  local target
  for target in "${made[@]}"; do
    if [ -d "$target" ]; then rmdir -p -- "$target"; elif [ ! -s "$target" ]; then rm -f -- "$target"; fi
    case $target in */*) rmdir -p -- "${target%/*}" ;; esac
  done 2>/dev/null
}
trap 'rm -rf "$scratch"; clear_places' EXIT
[% endif %]
