#!/bin/bash
# HPC Container Maker (hpccm) 26.5.0: copy(_from="build") becomes a copy from the host. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: the Singularity format gets "%files from build", as the Dockerfile gets "COPY --from=build".
# Seen: hpccm writes the definition format of Singularity 2.6 unless told otherwise, and that format has no stages.
#   - through the Python API, copy(src="/answer", dest="/answer", _from="build") gives "%files" and "/answer /answer", without a warning.
#     The build takes /answer of the build machine, if it has one, and leaves the result of the build stage behind
#   - the command hpccm writes the first stage only, with a warning on standard error, and exits with 0: the final image is the build stage
# Set --singularity-version 3.2 or later, or call hpccm.config.set_singularity_version("3.8"): both then write "%files from build".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hpccm==26.5.0
"$folder/venv/bin/python" - >"$folder/api" 2>"$folder/warnings" <<'END_OF_PYTHON'
import hpccm
from hpccm.primitives import copy

hpccm.config.set_container_format("docker")
print(copy(src="/answer", dest="/answer", _from="build"))
hpccm.config.set_container_format("singularity")
print(copy(src="/answer", dest="/answer", _from="build"))
hpccm.config.set_singularity_version("3.8")
print(copy(src="/answer", dest="/answer", _from="build"))
END_OF_PYTHON
cat >"$folder/recipe.py" <<'END_OF_RECIPE'
Stage0 += baseimage(image='docker.io/library/ubuntu:24.04', _as='build')
Stage0 += shell(commands=['echo 42 > /answer'])
Stage1 += baseimage(image='docker.io/library/alpine:3.20')
Stage1 += copy(src='/answer', dest='/answer', _from='build')
END_OF_RECIPE
"$folder/venv/bin/hpccm" --recipe "$folder/recipe.py" --format singularity >"$folder/image.def" 2>"$folder/messages"
expect() { [ "$1" = "$2" ] || { echo "expected: $2"; echo "now: $1"; exit 1; }; }
expect "$(cat "$folder/api")" $'COPY --from=build /answer /answer\n%files\n    /answer /answer\n%files from build\n    /answer /answer'
expect "$(cat "$folder/warnings")" ""
expect "$(grep -c '^From:' "$folder/image.def")" 1
expect "$(grep '^From:' "$folder/image.def")" 'From: docker.io/library/ubuntu:24.04'
expect "$(grep -c 'Only processing the first stage' "$folder/messages")" 1
echo "as seen with hpccm 26.5.0"
