#!/bin/bash
# Print what tasks wrote since the last query. Written by hpcdeploy 0.1.0.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
run_id=train-0123456789
wanted='0 1 11
3 8 1'
limit=1048576
fence=fence
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
}
# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/sections.sh: print the output of a command between two marker lines. The second marker contains the exit status.

# --- login/logs.sh: print what tasks wrote since the last query, or their last lines.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
