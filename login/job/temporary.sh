# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes the variables that name them to the program, but
# mounts only /tmp and /var/tmp. Each folder is mounted at its own path. These mounts come first, so that the job's mounts have precedence.
temporary=()
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  folder=${!name-}
  while [ "$folder" != "${folder%/}" ]; do folder=${folder%/}; done
  case $folder in /*) ;; *) continue ;; esac
  case "${temporary[*]-} ${mounts[*]} " in *",$(field destination "$folder")"[\ ,]*) continue ;; esac
  temporary+=(--mount "type=bind,$(field source "$folder"),$(field destination "$folder")")
done
mounts=(${temporary[@]+"${temporary[@]}"} "${mounts[@]}")
