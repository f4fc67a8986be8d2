# --- login/job/not_started.sh: an image's own environment script may end before its program starts ("exit 0"); Apptainer then exits with 0.
# The file $unbegun says that the program has not started, until program.sh empties it in the container, which needs no disk space.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
