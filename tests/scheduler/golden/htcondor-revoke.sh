#!/bin/bash
# Find the job of run sweep-0123456789, whose submission is uncertain, or prevent its submission. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash revoke.sh
# It needs bash, coreutils, flock (util-linux) and the scheduler's commands. It changes only the run's folder.
#
# Exit status: 0 the printed answer has the job's id, or an empty id if the run has no job and will not get one.
# 10 login node not usable. 13 unknown whether the run has a job: run this script again.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.

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
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands

# --- login/setup.sh: run the cluster's setup ($setup_lines) without the options -e, -u and pipefail, because site scripts do not expect

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.

# --- login/messages.sh: set strict mode and private files, and define messages. HUP and PIPE are ignored, because a lost connection

# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to

# --- login/folders.sh: check the cluster's folders, and that only this user can write to the root.

# --- login/revoke.sh: find the run's jobs, or prevent that the run is submitted.

# --- login/run_lock.sh: lock the run, so that only one script at a time works on it.

# --- login/htcondor/lookup.sh: find the run's job.

# --- login/json.sh: print a text as a JSON string.

# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.

# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and

# --- login/find_jobs.sh: print the ids of the run's jobs.
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
