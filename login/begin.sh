# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.
printf '\nHPCDEPLOY begins\n' || true
