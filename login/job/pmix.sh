# --- login/job/pmix.sh: mount what PMIx needs: the folder of Slurm's server on this node, and the folder of the memory that the processes
# share, which Apptainer mounts itself only if it is in /tmp. Without it MPI_Init ends with PMIX_ERR_FILE_OPEN_FAILURE (Open MPI 5.0.7).
shared=${HPCDEPLOY_PMIX-}
shared=${shared//%n/${SLURMD_NODENAME-}}
shared=${shared//%h/${HOSTNAME%%.*}}
for folder in "${PMIX_SERVER_TMPDIR-}" "$shared/spmix_appdir_"{,*_}"$SLURM_JOB_ID.$SLURM_STEP_ID"; do
  [ ! -d "$folder" ] || mounts+=(--mount "type=bind,$(field source "${folder%/}"),$(field destination "${folder%/}")")
done
unset HPCDEPLOY_PMIX
