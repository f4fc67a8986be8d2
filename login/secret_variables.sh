# --- login/secret_variables.sh: remove the variables of this machine with the names of the build's secrets.
unset "${secret_variables[@]}"
