#!/bin/bash
# Cancel runs. Written by hpcdeploy 0.1.0.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
run_ids=(hello-0123456789 train-0123456789)
declare -A run_of=([12]=hello-0123456789 [40]=train-0123456789)
cancel_command=condor_rm
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
}
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands

# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/cancel.sh: record that runs are cancelled, and cancel their jobs (cancel_jobs).

# --- login/htcondor/cancel.sh: remove the jobs that have the job id of their run and contain the run's id.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
