# --- login/sections.sh: print the output of a command between two marker lines. The second marker contains the exit status.
section() {
  local name=$1 code=0
  shift
  printf 'HPCDEPLOY %s begin %s\n' "$fence" "$name"
  "$@" || code=$?
  printf '\nHPCDEPLOY %s end %s %s\n' "$fence" "$name" "$code"
}
