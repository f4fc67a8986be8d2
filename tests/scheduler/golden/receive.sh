#!/bin/bash
# Receive a file, whose bytes follow this script on standard input. Written by hpcdeploy 0.1.0.
#
# Exit status: 0 the file is here. 10 login node not usable. 11 the file arrived damaged and was removed.
# 15 incomplete: call again.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
what='the code of '"'"'my project'"'"''
sha256=1212121212121212121212121212121212121212121212121212121212121212
image_cache_owners=()
size=1200000
silence_timeout=120
set_paths() {
  file=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/code/1212121212121212121212121212121212121212121212121212121212121212.tar'
}
{
# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.
} </dev/null

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/messages.sh: strict mode, private files, messages. A cut connection must not end the script between the scheduler's

# --- login/owners.sh: who may have written a file. An ACL that lets others write also shows in the mode, as the bits of the group

# --- login/open_lock.sh: open the lock file $1, in a folder that others may write to, as file descriptor $opened. Nothing is written

# --- login/upload.sh: prepare the reception of a file, whose bytes follow the script on standard input.

# --- login/image_mode.sh: print the mode of an image in the folder $1: private, unless the folder is for a group (setgid, readable).

# --- login/receive.sh: receive a file. The answer is the number of bytes that are here already; the rest must follow. A cut connection
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main; exec </dev/null
