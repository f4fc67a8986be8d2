#!/bin/bash
# Cancel runs. Written by hpcdeploy 0.1.0.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
run_ids=(hello-0123456789 train-0123456789)
declare -A run_of=([12]=hello-0123456789 [40]=train-0123456789)
cancel_command=scancel
declare -A name_of=([12]=hello-0123456789 [40]=train-0123456789)
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/cancel.sh: record that runs are cancelled, and cancel their jobs (cancel_jobs).

# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three

# --- login/slurm/cancel.sh: cancel those jobs that have the number and the id of their run.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
