# --- login/job/temporary_folders.sh: unset each variable that names a folder for temporary files which does not exist here. A login profile
# may have set the variable for another machine.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
