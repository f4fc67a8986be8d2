# Where temporary files go may be said for another machine than this node: by a profile of the login node, for example.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
