# --- login/job/field.sh: print KEY=VALUE as a field of --mount, quoted as in CSV (apptainer exec --help). --bind is not used, because it
# does not accept every path.
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
