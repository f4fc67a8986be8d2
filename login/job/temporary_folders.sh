# --- login/job/temporary_folders.sh: unset variables that name a folder for temporary files which does not exist here. They may be
# meant for another machine: a profile of the login node may have set them.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
