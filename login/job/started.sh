# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
[ "$code" != 0 ] || [ ! -s "$unbegun" ] || {
  echo "the program never began: the environment of the image ($image, /.singularity.d/env) ended first, with exit code 0" >&2
  # shellcheck disable=SC2034
  code=125 why=never-began
}
rm -f "$unbegun"
