# --- login/job/temporary_folders.sh: a variable for temporary files may be meant for another machine, for example set by a profile of
# the login node.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
