# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.
set_paths
