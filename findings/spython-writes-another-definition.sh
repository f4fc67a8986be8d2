#!/bin/bash
# spython 0.3.14 reads a two-stage Apptainer definition and writes another one. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: its parser knows one stage only and loses "%files from build".
# Seen: the stages and "%files from" are read right. What the writer makes of them (get_writer("singularity")) is wrong without a word:
#   - the line of "%files from build" is written letter by letter:  / g r e e t i n g   / g r e e t i n g
#   - %arguments vanishes, while "{{ NAME }}" stays in %post
#   - a %runscript "exec cat FILE" becomes 'exec /bin/bash exec cat FILE "$@"', and a %startscript of the same is added
#   - %test becomes lines of %post that write /tests.sh
# So a definition must not be passed through spython's writer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check spython==0.3.14
cat >"$folder/two.def" <<'END'
Bootstrap: docker
From: alpine:3.20
Stage: build

%arguments
    NAME=world

%post
    echo "hello {{ NAME }}" > /greeting

Bootstrap: docker
From: alpine:3.20
Stage: final

%files from build
    /greeting /greeting

%runscript
    exec cat /greeting

%test
    grep -q hello /greeting
END
"$folder/venv/bin/python" - "$folder/two.def" >"$folder/written.def" 2>/dev/null <<'END'
import sys
from spython.main.parse.parsers import get_parser
from spython.main.parse.writers import get_writer
stages = get_parser("singularity")(sys.argv[1]).parse()
assert list(stages) == ["build", "final"], stages
assert stages["final"].layer_files == {"build": ["/greeting /greeting"]}
print(get_writer("singularity")(stages).convert())
END
expect() { grep -qxF -- "$1" "$folder/written.def" || { echo "no longer written: $1"; cat "$folder/written.def"; exit 1; }; }
expect '/ g r e e t i n g   / g r e e t i n g'
expect 'exec /bin/bash exec cat /greeting "$@"'
expect '%startscript'
expect 'echo "grep -q hello /greeting" >> /tests.sh'
expect 'echo "hello {{ NAME }}" > /greeting'
if grep -q arguments "$folder/written.def"; then
  echo "%arguments is kept now"
  exit 1
fi
echo "as seen with spython 0.3.14"
