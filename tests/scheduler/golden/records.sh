#!/bin/bash
# Receive records of a file that is uploaded in parallel, which follow this script on standard input. Written by hpcdeploy 0.1.0.
#
# Exit status: 0 the records are here. 10 login node not usable. 11 a record arrived damaged, and was not written.
# 15 incomplete; or, with an empty answer: there is no python3, or the whole file is here.

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
is_first=yes
silence_timeout=120
receiver='# --- login/receive.py: receive records of a file that is uploaded in parallel. records.sh runs it, receive.sh does the rest.
'
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

# --- login/records.sh: receive records of a file that is uploaded in parallel, in Python ($receiver, receive.py). Several of these scripts
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main; exec </dev/null
