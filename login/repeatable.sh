# --- login/repeatable.sh: pack images so that the same inputs give the same bytes. Apptainer runs $packer (squashfs.py) as mksquashfs, and
# $sif_editor (hpcdeploy/apptainer/sif_edit.py) rewrites the header of the image. Both need Python 3.6.
python="" mksquashfs="" unsquashfs="" unrepeatable=""

# Set python, mksquashfs and unsquashfs; if one of the first two is missing or too old, set unrepeatable to the reason.
find_tools() {
  local program searched=$PATH:/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin version
  # The second one is RHEL's own, which has no name on PATH.
  for program in python3 /usr/libexec/platform-python; do
    [ -n "$python" ] || ! program=$(type -P "$program") || ! usable_python "$program" || python=$program
  done
  [ -n "$python" ] || { unrepeatable="the login node has no python3 (3.6 or later)" && return 0; }
  mksquashfs=$(PATH=$searched type -P mksquashfs) || { unrepeatable="mksquashfs is not on the login node's PATH" && return 0; }
  unsquashfs=$(PATH=$searched type -P unsquashfs) || unsquashfs=""
  version=$("$mksquashfs" -version 2>&1 </dev/null) || true
  if [[ ! $version =~ squashfs\ version\ ([0-9]+)\.([0-9]+) ]] || [ $((BASH_REMATCH[1] * 100 + BASH_REMATCH[2])) -lt 404 ]; then
    unrepeatable="$mksquashfs is older than version 4.4"
  fi
}
usable_python() { "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 6))' </dev/null >/dev/null 2>&1; }

# run_apptainer IMAGE PLACES OPTIONS...: build IMAGE from the files in $folder/context; write what our mksquashfs did to $temporary/report. PLACES
# is a JSON list (squashfs.py). Build with umask 022, because folders that the build makes have the umask's mode in the image too.
run_apptainer() {
  local image=$1 places=$2 code=0 plan bin=$temporary/bin
  shift 2
  rm -rf -- "$bin" "$temporary/report"
  if [ -z "$unrepeatable" ]; then
    mkdir -- "$bin"
    plan=$(printf '{"program": %s, "epoch": %s, "options": %s, "rewrites": %s, "places": %s, "started": %s, "report": %s}' \
      "$(json "$mksquashfs")" "$epoch" "$packing_options" "$rewrites" "$places" "$(date +%s)" "$(json "$temporary/report")")
    printf '%s\n' "$packer" >"$bin/squashfs.py"
    printf '#!%s\nexec %q -I -S %q %q "$@"\n' "$BASH" "$python" "$bin/squashfs.py" "$plan" >"$bin/mksquashfs"
    printf '#!%s\n' "$BASH" >"$bin/probe"
    chmod 0700 -- "$bin/mksquashfs" "$bin/probe"
    "$bin/probe" 2>/dev/null || rm -rf -- "$bin" # the folder for temporary files is mounted with noexec
  fi
  [ "$has_secrets" = no ] || start_serving
  (
    [ "$has_secrets" = no ] || exec {serving}>&-
    [ "${#kept_variables[@]}" = 0 ] || export "${kept_variables[@]}"
    export "${prefix}ENV_SOURCE_DATE_EPOCH=$epoch"
    [ ! -d "$bin" ] || export PATH="$bin:$PATH"
    umask 022 && cd -- "$folder/context" && "$apptainer" build ${options[@]+"${options[@]}"} "$@" "$image" image.def
  ) >&2 </dev/null || code=$?
  [ "$has_secrets" = no ] || stop_serving
  [ "$code" = 0 ] || die 12 "the build failed (exit status $code); Apptainer's message is above"
}

# normalise IMAGE KEY: rewrite the header of the image, or say why its bytes may differ next time.
normalise() {
  local reason=$unrepeatable
  if [ -z "$reason" ] && [ ! -e "$temporary/report" ]; then reason=$(not_called); fi
  if [ -z "$reason" ]; then
    reason=$("$python" -I -S -c "$sif_editor" normalise "$1" "$2" "$epoch" "$rewrites" 2>&1) && return
  fi
  note "the same inputs may give other bytes next time: $reason"
}
not_called() {
  printf '%s' "this site's Apptainer does not take mksquashfs from PATH ('mksquashfs path' or 'binary path' in its configuration)"
  [ -d "$temporary/bin" ] || printf '%s' ", and no program in $temporary can run (noexec)"
}
