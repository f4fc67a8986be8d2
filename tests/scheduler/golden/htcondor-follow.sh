#!/bin/bash
# Print the state of runs: the scheduler's output, and the runs' own records. It changes nothing. Written by hpcdeploy 0.1.0.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

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
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands

# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/sections.sh: print the output of a command between two marker lines. The second marker contains the exit status.

# --- login/limited.sh: limit the output of a command to $most bytes about these runs, and to $most_in_all bytes in total.

# --- login/htcondor/follow.sh: print the ads of the queried jobs from condor_q, and those lines of each run's event log that show the states
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
