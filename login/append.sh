# --- login/append.sh: append the code to the image of the environment, which is built if there is none. Code is always appended to a copy of
# that image. If this is impossible, the code is copied while the image is built. Without code, $code_sha256 is empty.
environments=$root/environments
environment_image=$environments/$environment.sif
environment_report=$environments/$environment.report
problem=""

lock_environment() {
  [ -n "$code_sha256" ] || return 0
  mkdir -p -- "$environments" || die 10 "cannot make $environments; set root in the cluster's settings to a folder that you may write to"
  keep_private "$environments"
  exec {environment_lock}>"$environments/$environment.lock"
  flock --nonblock "$environment_lock" || { say "another build of the same inputs runs; waiting for it"; flock "$environment_lock"; }
  rm -f -- "$environments/.$environment."*
}

# Test whether the environment was built. If it was, but code cannot be appended to it, set problem to the reason.
environment_exists() {
  local sha256
  problem=""
  [ "$force" = no ] && [ -s "$environment_report" ] || return
  [ "$exact_tools" = no ] || [ "$(cat -- "$environments/$environment.tools" 2>/dev/null)" = "$(toolchain)" ] || return
  IFS= read -r -d '' problem <"$environment_report" || return
  [ -z "$problem" ] || return 0
  [ -s "$environments/$environment.sha256" ] && [ -e "$environment_image" ] || return
  sha256=$(<"$environments/$environment.sha256")
  check_image "$environment_image" "$sha256" "$root" || die 10 "$image_fault"
  is_intact "$environment_image" "$sha256" "$root" && return
  move_aside "$environment_image" || rm -f -- "$environment_image"
  note "the image of the environment was damaged; it is built again"
  return 1
}

# Answer which archive is missing, and fail, unless all that are needed exist.
has_files() {
  if [ -n "$code_sha256" ]; then
    [ -n "$unrepeatable" ] || [ -n "$unsquashfs" ] || problem="unsquashfs is not on the login node's PATH"
    has_archive code "$code_sha256" || return
    if [ -z "$unrepeatable$problem" ] && environment_exists && [ -z "$problem" ]; then return 0; fi
  fi
  has_archive context "$context_sha256"
}
has_archive() {
  if [ -e "$folder/$1.tar" ] && [ "$(sha256sum <"$folder/$1.tar")" = "$2  -" ]; then return 0; fi
  answer "\"state\": \"context\", \"need\": \"$1\", \"put\": $(json "$folder/$1.tar"), \"apptainer\": $(json "$version"), \
\"emulated\": $emulated"
  return 1
}

# Write the image to $part and set made to yes; if an archive is missing, answer this and set made to no.
make_image() {
  made=yes
  if [ -n "$code_sha256" ]; then
    problem=${problem:-$unrepeatable}
    [ -n "$problem" ] || environment_exists || build_environment
    [ -n "$problem" ] || append_code
    [ -n "$problem" ] || return 0
    note "the code is copied while the image is built: $problem"
    has_archive context "$context_sha256" || { made=no && return 0; }
  fi
  unpack_context
  if [ -n "$code_sha256" ]; then
    find "$folder/context/files" -name .hpcdeploy-code -delete
    tar -xf "$folder/code.tar" -C "$folder/context"
  fi
  run_apptainer "$part" "[]"
  normalise "$part" "$inputs"
}
unpack_context() {
  rm -rf -- "$folder/context"
  mkdir -- "$folder/context"
  (umask 022 && tar -xf "$folder/context.tar" -C "$folder/context")
}

build_environment() {
  local new=$environments/.$environment.new sha256
  say "building the environment without the code"
  unpack_context
  run_apptainer "$new" "$code_destinations" --notest
  rm -f -- "$environment_report" "$environments/$environment.sha256"
  if [ ! -e "$temporary/report" ]; then problem=$(not_called); else IFS= read -r -d '' problem <"$temporary/report" || true; fi
  if [ -n "$problem" ]; then
    rm -f -- "$new"
    remember_problem
    return
  fi
  normalise "$new" "$environment"
  sha256=$(sha256sum <"$new")
  mv -f -- "$new" "$environment_image"
  note_intact "$environment_image" "${sha256%% *}" "$root" "$(identity_of "$environment_image")"
  write "${sha256%% *}" "$environments/$environment.sha256"
  write "$(toolchain)" "$environments/$environment.tools"
  cp -- "$temporary/report" "$environment_report.part"
  mv -f -- "$environment_report.part" "$environment_report"
}
toolchain() { "$apptainer" --version && tools_json; }
remember_problem() {
  rm -f -- "$environments/$environment.sha256" "$environment_image"
  printf '%s\0' "$problem" >"$environment_report.part"
  mv -f -- "$environment_report.part" "$environment_report"
}

# Copy the image of the environment to $part, and append the code; if this is impossible, set problem.
append_code() {
  local tree=$temporary/code place number start listed root_line mode printed folder_beside name target
  say "appending the code"
  cp --reflink=auto -- "$environment_image" "$part" || die 10 "cannot copy the image of the environment to $part; make room there"
  chmod 0700 -- "$part"
  rm -rf -- "$tree" "$temporary/staged"
  mkdir -- "$tree" "$temporary/staged"
  tar -xpf "$folder/code.tar" -C "$temporary/staged"
  for number in "${!code_staged[@]}"; do
    place=$tree/.hpcdeploy.d${code_places[number]}
    mkdir -p -- "${place%/*}"
    mv -- "$temporary/staged/${code_staged[number]}" "$place"
  done
  {
    IFS= read -r -d '' problem && IFS= read -r -d '' number
    while IFS= read -r -d '' folder_beside && IFS= read -r -d '' name; do
      target=$tree/.hpcdeploy.d$folder_beside/$name
      [ -e "$target" ] || [ -L "$target" ] || ln -s -- "$folder_beside/$name" "$target"
    done
  } <"$environment_report"
  find "$tree/.hpcdeploy.d" -type d -exec chmod 0755 {} +
  start=$("$python" -I -S -c "$sif_editor" start "$part" 2>&1) || { problem=$start && remember_problem && return 0; }
  listed=$(LC_ALL=C "$unsquashfs" -lln -o "$start" "$part" .hpcdeploy.d 2>&1 </dev/null) || true
  if [[ $listed == *squashfs-root/.hpcdeploy.d* ]]; then problem="the image has a file /.hpcdeploy.d"; fi
  root_line=$'\n''d([rwxsStT-]{9}) [^'$'\n'']*squashfs-root'$'\n'
  # Append mode replaces the mode of the image's root by that of the new folder.
  if [[ $'\n'$listed$'\n' =~ $root_line ]]; then
    mode=${BASH_REMATCH[1]}
    case $mode in *[sStT]*) problem="the root of the image has the mode $mode" ;; *) chmod "$(octal "$mode")" -- "$tree" ;; esac
  else
    problem="$unsquashfs does not list the image's root"
  fi
  [ -z "$problem" ] || { remember_problem && return 0; }
  # Without -no-recovery, mksquashfs writes a file into $HOME. With SOURCE_DATE_EPOCH, it refuses the options for times.
  if ! printed=$(unset SOURCE_DATE_EPOCH; LC_ALL=C "$mksquashfs" "$tree" "$part" -offset "$start" -no-recovery -no-xattrs -all-root \
    -all-time "$epoch" -mkfs-time "$epoch" -no-progress -mem 128M 2>&1 </dev/null); then
    [[ $printed != *"No space left"* && $printed != *"quota exceeded"* ]] || die 10 "the disk with $part is full (or your quota); make room there"
    problem="mksquashfs failed: ${printed##*$'\n'}"
  elif [[ $printed == *"already used! - trying"* ]]; then
    problem="the image has a file /.hpcdeploy.d"
    remember_problem
  else
    problem=$("$python" -I -S -c "$sif_editor" grow "$part" "$inputs" 2>&1) || true
  fi
  # Another failure of mksquashfs, such as a limit of the login node's memory, may not occur the next time.
  [ -z "$problem" ] || return 0
  [ "$has_test" = no ] || {
    say "running %test"
    "$apptainer" test --no-home --pwd / "$part" >&2 </dev/null || die 12 "%test failed; its output is above"
  }
}
octal() {
  local text=$1 number=0 index
  for index in 0 1 2 3 4 5 6 7 8; do
    number=$((number * 2))
    [ "${text:index:1}" = - ] || number=$((number + 1))
  done
  printf '%o' "$number"
}
