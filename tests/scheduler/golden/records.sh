#!/bin/bash
# Receive records of a file that is uploaded in parallel, which follow this script on standard input. Written by hpcdeploy 0.1.0.
#
# Exit status: 0 all records were received. 10 login node not usable. 11 a received record was damaged, and was not written.
# 15 records are missing. An empty answer means that there is no python3, or that the file is already complete.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
what='the code of '"'"'my project'"'"''
sha256=1212121212121212121212121212121212121212121212121212121212121212
image_cache_owners=()
size=1200000
is_first=yes
silence_timeout=120
receiver='# --- login/receive.py: receive records of a file that is uploaded in parallel. records.sh runs it, receive.sh does the rest.
'
set_paths() {
  file=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/code/1212121212121212121212121212121212121212121212121212121212121212.tar'
}
{
# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect
} </dev/null

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/messages.sh: set strict mode and private files, and define messages. HUP and PIPE are ignored, because a lost connection

# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to

# --- login/open_lock.sh: open the lock file $1, and set opened to its file descriptor. If others can write to the folder, they can put a

# --- login/upload.sh: prepare the reception of a file, whose bytes follow the script on standard input.

# --- login/records.sh: receive records of a file that is uploaded in parallel, in Python ($receiver, receive.py). Several of these scripts
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main; exec </dev/null
