# --- login/no_setup.sh: the cluster has no setup lines.
known_state
