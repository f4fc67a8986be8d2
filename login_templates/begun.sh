[ "$code" != 0 ] || [ ! -s "$unbegun" ] || {
  echo "the program never began: the environment of the image ($image, /.singularity.d/env) ended first, with exit code 0" >&2
  code=125[= " why=never-began" if scheduler == "slurm" =]
}
rm -f "$unbegun"
