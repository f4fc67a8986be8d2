[% include "login_templates/open_lock.sh" %]

[% include "login_templates/image_mode.sh" %]

# The image, once for everybody: the first task that finds it missing pulls it into the shared cache, the others wait for it.
pull_image() {
  # Locks may hold on one node only, as some file systems are mounted: so each pull has a name of its own.
  local part code=0
  part=$(mktemp -u -- "${image%/*}/.${image##*/}.$SLURM_JOB_ID.${SLURM_PROCID:-0}.XXXXXXXXXX") || return
  echo "pulling the image [= reference =] on $(hostname)" >&2
  TMPDIR=$scratch [= apptainer | word =] pull --disable-cache[% if plain_http %] --no-https[% endif %] "$part" [= reference | word =] >&2 || code=$?
  if [ "$code" != 0 ]; then
    echo "error: the image could not be pulled on $(hostname) (exit status $code); Apptainer's own words are above" >&2
  elif [ "$(sha256sum <"$part")" != "[= sha256 =]  -" ]; then
    echo "error: the image that came is not the one that was asked for: its sha256 is not [= sha256 =]" >&2
    code=1
  elif ! { chmod "$(image_mode "${image%/*}")" "$part" && mv -f "$part" "$image"; }; then
    echo "error: cannot write $image on $(hostname)" >&2
    code=1
  fi
  rm -f "$part"
  return "$code"
}
if [ ! -e "$image" ]; then
  open_lock "${image%/*}/.[= sha256 =].lock" || finish 1
  image_lock=$opened
  flock "$image_lock" || echo "cannot lock ${image%/*} on $(hostname): several nodes may pull the image" >&2
  [ -e "$image" ] || pull_image || finish 1
  exec {image_lock}>&-
fi
