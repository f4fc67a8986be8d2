# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.
answer() {
  printf '\nHPCDEPLOY {"run": "%s", "job_id": "%s", "already": %s, "part": %s, "folder": %s}\n' "$run_id" "$1" "$2" "$chunk_size" "$(json "$run")" || true
}
