# --- login/job/not_started.sh: mark that the program has not started, in the file $unbegun. program.sh, in the container, empties the file,
# which needs no disk space. The mark is needed because the image's environment script may end before the program starts ("exit 0"), and
# Apptainer then exits with 0.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
