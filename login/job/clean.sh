# --- login/job/clean.sh: remove variables with which the node's Python and libraries would affect programs in the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
