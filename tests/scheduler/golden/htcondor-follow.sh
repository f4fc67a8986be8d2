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
attributes=ClusterId,ProcId,JobStatus,HoldReason,HoldReasonCode,HoldReasonSubCode,RemoteHost,JobCurrentStartDate,NumJobStarts,LastRejMatchReason,JobUniverse,DAGManJobId,HpcdeployAfter,HpcdeployRun,TransferringInput
history_attributes=ClusterId,DAGManJobId,ProcId,JobStatus,ExitBySignal,ExitCode,ExitSignal,RemoveReason,LastHoldReasonCode,LastRemoteHost,JobCurrentStartDate,EnteredCurrentStatus,NumJobStarts
run_ids=(hello-0123456789 train-0123456789)
job_ids=(12 40)
since=1790000000
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/sections.sh: print the output of a command between two marker lines; the second one has its exit status.

# --- login/limited.sh: use no more of a command's output than $most bytes about these runs, and $most_in_all in all.

# --- login/htcondor/follow.sh: print condor_q's ads of the queried jobs, and the part of each run's event log that shows the states of
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
