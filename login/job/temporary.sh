# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes their variables to the program, but mounts
# only /tmp and /var/tmp of them. Each folder is mounted at its own path, before all others, so that the job's own mounts win.
temporary=()
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  folder=${!name-}
  while [ "$folder" != "${folder%/}" ]; do folder=${folder%/}; done
  case $folder in /*) ;; *) continue ;; esac
  case "${temporary[*]-} ${mounts[*]} " in *",$(field destination "$folder")"[\ ,]*) continue ;; esac
  temporary+=(--mount "type=bind,$(field source "$folder"),$(field destination "$folder")")
done
mounts=(${temporary[@]+"${temporary[@]}"} "${mounts[@]}")
