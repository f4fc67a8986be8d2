# --- login/job/field.sh: quote a field of --mount, which unlike --bind accepts every path, as in CSV (apptainer exec --help).
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
