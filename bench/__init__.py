"""Compare the speed of hpcdeploy with that of the tools that it replaces, such as sbatch and scp: ``python -m bench``."""
