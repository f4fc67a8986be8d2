#!/bin/bash
# Find the job of run sweep-0123456789, whose submission is uncertain, or prevent its submission. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash revoke.sh
# It needs bash, coreutils, flock (util-linux) and the scheduler's own commands, and changes nothing but the run's own folder.
#
# Exit status: 0 it printed the job's number, or that there is none and will be none. 10 login node not usable.
# 13 unknown whether there is a job: run this again.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.

main() {
# --- values of this script
setup_lines='module load apptainer/1.4'
setup_must_succeed=yes
setup_exit=(exit 10)
run_id=sweep-0123456789
scheduler=htcondor
is_array=no
lock_timeout=30
image_cache_owners=()
set_paths() {
  root=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project'
  cache=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/images'
  tmp=/scratch/"${USER:?is not set on this machine, but the path needs it: set it, or name another path}"'/my project/tmp'
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do

# --- login/setup.sh: run the cluster's setup ($setup_lines), without -e, -u and pipefail, which site scripts do not expect.

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.

# --- login/messages.sh: strict mode, private files, messages. A cut connection must not end the script between the scheduler's

# --- login/owners.sh: who may have written a file. An ACL that lets others write also shows in the mode, as the bits of the group

# --- login/folders.sh: check the cluster's folders; only this user may write to the root.

# --- login/revoke.sh: find the run's jobs, or prevent its submission.

# --- login/run_lock.sh: one call at a time for each run.

# --- login/htcondor/lookup.sh: look for the run's job.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy reads; a login shell may print other lines before and after it.

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network

# --- login/find_jobs.sh: print the numbers of the run's jobs.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
