# --- login/job/pull.sh: pull the image into the shared cache. The first task that finds it missing pulls it; other tasks wait.
pull_image() {
  # Each pull writes to a file of its own, because on some file systems a lock has effect on one node only.
  local part code=0
  part=$(mktemp -u -- "${image%/*}/.${image##*/}.$SLURM_JOB_ID.${SLURM_PROCID:-0}.XXXXXXXXXX") || return
  echo "pulling the image $reference on $(hostname)" >&2
  TMPDIR=$scratch "$apptainer" pull "${pull_options[@]}" "$part" "$reference" >&2 || code=$?
  if [ "$code" != 0 ]; then
    echo "error: the image could not be pulled on $(hostname) (exit status $code); Apptainer's message is above" >&2
  elif [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    echo "error: the registry sent another image: its sha256 is not $sha256" >&2
    code=1
  elif ! { chmod "$(image_mode "${image%/*}")" "$part" && mv -f "$part" "$image"; }; then
    echo "error: cannot write $image on $(hostname)" >&2
    code=1
  fi
  rm -f "$part"
  return "$code"
}
if [ ! -e "$image" ]; then
  opened=""
  open_lock "${image%/*}/.$sha256.lock" || finish 1
  image_lock=$opened
  flock "$image_lock" || echo "cannot lock ${image%/*} on $(hostname): several nodes may pull the image" >&2
  [ -e "$image" ] || pull_image || finish 1
  exec {image_lock}>&-
fi
