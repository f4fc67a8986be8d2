#!/bin/bash
# One process of run [= run_id =], written by hpcdeploy [= version =]. srun starts this once for each, on the process's own node:
# what is expanded here ($SLURM_PROCID, $SLURM_NODEID, folders of the node) is its own. Arguments: those of program.sh.
[% include "login_templates/state.sh" %]
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
# PMIx: the program meets Slurm's own server in one folder of the node, and has memory in common with it in another, which
# Apptainer mounts by itself only where it is in /tmp. Without it MPI_Init ends in PMIX_ERR_FILE_OPEN_FAILURE (Open MPI 5.0.7).
shared=${HPCDEPLOY_PMIX-}
shared=${shared//%n/${SLURMD_NODENAME-}}
shared=${shared//%h/${HOSTNAME%%.*}}
for folder in "${PMIX_SERVER_TMPDIR-}" "$shared/spmix_appdir_"{,*_}"$SLURM_JOB_ID.$SLURM_STEP_ID"; do
  [ ! -d "$folder" ] || mounts+=(--mount "type=bind,$(field source "${folder%/}"),$(field destination "${folder%/}")")
done
unset HPCDEPLOY_PMIX

[% endif %]
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$@" &
[% if warning %]
# Who is to be warned, see job.sh.
note=$run/tasks/.rank.$SLURM_JOB_ID.$SLURMD_NODENAME.$SLURM_LOCALID
printf '%s\n' "$!" >"$note"
[% endif %]
[% include "slurm_templates/waiting.sh" %]
[% include "login_templates/begun.sh" %]
[% if warning %]
rm -f "$note"
[% endif %]
# The first to fail says the run's exit code: srun would give the highest, which those that it then ends may have.
[ "$code" = 0 ] || ln -s "$code${why:+ $why}" "$run/tasks/.code.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" 2>/dev/null
[% if warning %]
# Once they are warned, each saves its work in its own time: srun is not to end the others.
[ ! -e "$run/tasks/.warned.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" ] || code=0
[% endif %]
finish "$code"
