# --- login/build_secrets.sh: serve the secrets to the build; they are read from the file descriptor $given.
start_serving() {
  local pipes=$temporary/secrets server_code bind
  make_secrets_folder "$pipes" || die 10 "cannot make named pipes in $pipes; set APPTAINER_TMPDIR in the cluster's setup"
  server_code="$(declare -f serve_secrets keep_gate open_gate close_gate feed); serve_secrets \"\$1\""
  exec {serving}> >(exec {given}<&-; unset BASH_ENV; exec setsid bash -c "$server_code" serve_secrets "$pipes")
  server=$!
  trap 'stop_serving; clean' EXIT
  { cat <&"$given"; echo; } >&"$serving"
  exec {given}<&-
  # In --bind a colon and a comma separate fields, unless they follow a backslash.
  bind=${pipes//:/\\:}
  bind=${bind//,/\\,}:/run/secrets
  options+=(--bind "$bind")
}
stop_serving() {
  exec {serving}>&-
  wait "$server" 2>/dev/null || true
}
