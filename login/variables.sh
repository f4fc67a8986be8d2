# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands
# do, or make an MPI program connect to another job's server.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done
