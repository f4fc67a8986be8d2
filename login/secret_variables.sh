# --- login/secret_variables.sh: remove variables of this machine that have the name of a secret of the build.
unset "${secret_variables[@]}"
