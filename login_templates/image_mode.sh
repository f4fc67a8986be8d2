# Prints the mode of an image in the folder $1: for us alone, unless the folder is made for a group (setgid, and readable for it).
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }
