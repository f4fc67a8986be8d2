# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.
printf '\nHPCDEPLOY begins\n' || true
