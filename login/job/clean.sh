# --- login/job/clean.sh: keep the node's own Python out of the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
