# --- login/job/pmix.sh: mount the two folders that PMIx needs: that of Slurm's PMIx server on this node, and that of the shared memory of the
# processes. Apptainer itself mounts them only if they are in /tmp. Without the second folder, MPI_Init ends with
# PMIX_ERR_FILE_OPEN_FAILURE (Open MPI 5.0.7).
shared=${HPCDEPLOY_PMIX-}
shared=${shared//%n/${SLURMD_NODENAME-}}
shared=${shared//%h/${HOSTNAME%%.*}}
for folder in "${PMIX_SERVER_TMPDIR-}" "$shared/spmix_appdir_"{,*_}"$SLURM_JOB_ID.$SLURM_STEP_ID"; do
  [ ! -d "$folder" ] || mounts+=(--mount "type=bind,$(field source "${folder%/}"),$(field destination "${folder%/}")")
done
unset HPCDEPLOY_PMIX
