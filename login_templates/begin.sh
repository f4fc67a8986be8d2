[% include "login_templates/state.sh" %]
# Without this line hpcdeploy knows that the script never began. A profile may have printed the beginning of a line.
printf '\nHPCDEPLOY begins\n' || true
