# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do
# or lead an MPI program to a foreign server.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
