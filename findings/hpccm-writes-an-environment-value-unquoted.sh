#!/bin/bash
# HPC Container Maker (hpccm) 26.5.0 writes the values of environment() without quotes. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: it writes export GREETING='hello big world' or the same in double quotes.
# Seen: %environment and %post of the definition get "export GREETING=hello big world". At run time GREETING is "hello": the shell takes
# the other words as names to export. No step fails, so the image works with a cut value (compiler flags such as CFLAGS="-O3 -g" lose all
# flags but the first where the second is a valid name, and fail where it is not). The Dockerfile gets "ENV GREETING=hello big world".
# So a value with a blank must carry its own quotes: variables={"GREETING": "'hello big world'"}.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hpccm==26.5.0
cat >"$folder/recipe.py" <<'END_OF_RECIPE'
Stage0 += baseimage(image='docker.io/library/ubuntu:24.04')
Stage0 += environment(variables={'GREETING': 'hello big world', 'QUOTED': "'hello big world'"})
END_OF_RECIPE
"$folder/venv/bin/hpccm" --recipe "$folder/recipe.py" --format singularity --singularity-version 3.8 >"$folder/image.def"
"$folder/venv/bin/hpccm" --recipe "$folder/recipe.py" --format docker >"$folder/Dockerfile"
expect() { [ "$1" = "$2" ] || { echo "expected: $2"; echo "now: $1"; exit 1; }; }
sed -n '/^%environment/,/^%post/p' "$folder/image.def" | sed '/^%/d' >"$folder/environment.sh"
expect "$(wc -l <"$folder/environment.sh")" 2
# shellcheck disable=SC2016
expect "$(sh -c '. "$1"; printf "%s|%s" "$GREETING" "$QUOTED"' sh "$folder/environment.sh")" 'hello|hello big world'
expect "$(grep -o 'GREETING=.*world' "$folder/Dockerfile")" 'GREETING=hello big world'
echo "as seen with hpccm 26.5.0"
