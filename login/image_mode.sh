# --- login/image_mode.sh: print the mode for an image in the folder $1: 0640 if the folder is for a group (setgid, readable), else 0600.
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }
