#!/bin/bash
# One process of run [= run_id =], written by hpcdeploy [= version =]. srun starts this once for each process, on the node of the
# process, so that $SLURM_PROCID, $SLURM_NODEID and the node's folders have the right values. The arguments are passed to program.sh.
[% include "login/state.sh" %]
known_state
set -u
run=$PWD
[% if array and not workdir %]
task=$1
[% endif %]
finish() { exit "$1"; }
why=""

[% include "slurm_templates/container.sh" %]

[% if mpi %]
[% include "login/job/pmix.sh" %]

[% endif %]
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$@" &
[% if warning %]
# Record the id of the process that gets the warning signal (login/job/warn.sh).
note=$run/tasks/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME.$SLURM_LOCALID
printf '%s\n' "$!" >"$note"
[% endif %]
[% include "login/job/wait.sh" %]
[% include "login/job/started.sh" %]
[% if warning %]
rm -f "$note"
[% endif %]
# Use the exit code of the first rank that failed; srun reports the highest, which may come from ranks it killed.
[ "$code" = 0 ] || ln -s "$code${why:+ $why}" "$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" 2>/dev/null
[% if warning %]
# After the warning signal exit with 0: srun would end the other processes after a failure, but they may still be saving their work.
[ ! -e "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" ] || code=0
[% endif %]
finish "$code"
