# --- login/htcondor/own_copy.sh: use a copy of the image in the root, which only this user can change, if others can replace the image. A check
# at submission would not suffice, because HTCondor reads the image only when it has found a worker, possibly hours later.
use_own_copy() {
  local own_image=$root/images/$sha256.sif copy
  if [ ! -e "$image" ] || [ "$image" = "$own_image" ] || ! others_can_change "$image"; then return 0; fi
  mkdir -p -- "$root/images" || return 0
  is_private "$root/images" || return 0
  if [ ! -e "$own_image" ]; then
    { copy=$(mktemp -- "$root/images/.$sha256.XXXXXXXXXX.part") && cp --reflink=auto -- "$image" "$copy"; } ||
      die 10 "cannot copy the image to $root/images; make room there (a full disk, or your quota)"
    [ "$(sha256sum <"$copy")" = "$sha256  -" ] || { rm -f -- "$copy" && die 11 "the image $image changed while it was copied"; }
    mv -f -- "$copy" "$own_image"
  fi
  image=$own_image
}
