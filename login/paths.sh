# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.
set_paths
