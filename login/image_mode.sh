# --- login/image_mode.sh: print the mode of an image in the folder $1: private, unless the folder is for a group (setgid, readable).
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }
