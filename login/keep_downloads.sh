# --- login/keep_downloads.sh: keep what package managers download from one build to the next, outside of the image, in the folder
# $root/downloads/$downloads. It is mounted below /tmp during the build, because Apptainer mounts the host's /tmp into a build. The array
# kept_variables receives the variables that name its subfolders to the package managers.
kept_variables=() kept="" kept_place=""
start_keeping() {
  local conf name setting bind variable
  for name in APPTAINER_CONF_FILE SINGULARITY_CONF_FILE; do
    conf=$("$apptainer" buildcfg "$name" 2>/dev/null </dev/null) || conf=""
    conf=${conf##*=}
    [ -r "$conf" ] || continue
    if setting=$(grep -iE '^[[:blank:]]*(mount tmp|user bind control)[[:blank:]]*=[[:blank:]]*no[[:blank:]]*$' -- "$conf"); then
      note "downloads are not kept, because this site's Apptainer has '${setting%%$'\n'*}'"
      return 0
    fi
    break
  done
  local folder=$root/downloads/$downloads
  mkdir -p -- "$folder/files/apt/partial" || { note "downloads are not kept, because $folder cannot be made" && return 0; }
  keep_private "$root/downloads" "$folder" "$folder/files"
  exec {downloads_lock}>>"$folder/lock"
  flock --nonblock "$downloads_lock" || { note "kept downloads are not used, because another build of this image uses them" && return 0; }
  kept=$folder
  remove_place
  kept_place=$(mktemp -d /tmp/hpcdeploy-XXXXXXXXXX) || { note "downloads are not kept, because /tmp is full" && kept_place="" && return 0; }
  printf '%s' "$kept_place" >"$kept/mounted"
  printf '%s\n' "Dir::Cache::archives \"$kept_place/apt/\";" 'APT::Keep-Downloaded-Packages "true";' \
    'Binary::apt::APT::Keep-Downloaded-Packages "true";' 'APT::Sandbox::User "root";' >"$kept/files/apt.conf"
  printf '{"project": %s, "image": %s}\n' "$project_json" "$name_json" >"$kept/about.json"
  # In --bind a colon and a comma separate fields, unless they follow a backslash.
  bind=$kept/files
  bind=${bind//:/\\:}
  options+=(--bind "${bind//,/\\,}:$kept_place")
  for variable in HPCDEPLOY_DOWNLOADS= APT_CONFIG=/apt.conf RATTLER_CACHE_DIR=/conda PIP_CACHE_DIR=/pip UV_CACHE_DIR=/uv; do
    kept_variables+=("${prefix}ENV_${variable%%=*}=$kept_place${variable#*=}")
  done
}
# A note that hpcdeploy shows as a step of the build.
note() { printf 'hpcdeploy: note: %s\n' "$1" >&2; }
# Remove the empty mount point of this build, or the one that a build left which was killed.
remove_place() {
  local place=$kept_place
  [ -n "$kept" ] || return 0
  [ -n "$place" ] || place=$(cat -- "$kept/mounted" 2>/dev/null) || return 0
  case $place in /tmp/hpcdeploy-*/*) ;; /tmp/hpcdeploy-*) rmdir -- "$place" 2>/dev/null || true ;; esac
  rm -f -- "$kept/mounted"
}
