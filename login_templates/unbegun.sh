# An image's own environment script may end before its program starts (an "exit 0", say), and Apptainer then ends with 0. So a file says that
# the program has not begun until program.sh, in the container, empties it: which needs no room, even where a disk is full.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
