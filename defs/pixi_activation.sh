[# Compute activate.sh of a Pixi environment without a container, in the folder that becomes /app. Values: see hpcdeploy/definition/pixi.py.
   "$1" is a private folder that contains the file hook. #]
set -euo pipefail
private=$1
mkdir -p "$private/home" "$private/tmp"
export HOME="$private/home" TMPDIR="$private/tmp" PYTHONNOUSERSITE=1
[% if cuda %]
export CONDA_OVERRIDE_CUDA="[= cuda =]"
[% endif %]
[% include "defs/parts/pixi_activation.def" %]
