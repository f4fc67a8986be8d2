#!/bin/bash
# Print the state of runs: the scheduler's output, and the runs' own records. It changes nothing. Written by hpcdeploy 0.1.0.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=no
setup_exit=(exit 10)
fence=fence
queried='12|hello-0123456789|1|-|0
40|train-0123456789|100|-|0'
most=3958784
most_in_all=268435456
queue_format='ArrayJobID:|,ArrayTaskID:|,State:|,NodeList:|,StartTime:|,RestartCnt:|,Reason:|'
accounting_format=JobID,State,ExitCode,NodeList,Start,End,Comment,JobName
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/sections.sh: print the output of a command between two marker lines; the second one has its exit status.

# --- login/limited.sh: use no more of a command's output than $most bytes about these runs, and $most_in_all in all.

# --- login/slurm/release.sh: print the release of Slurm's command $1 as a number, 2405 for 24.05; 0 if it is unknown.

# --- login/slurm/follow.sh: print squeue's rows of the queried jobs, the tasks' own records, and sacct's rows of those tasks whose end
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
