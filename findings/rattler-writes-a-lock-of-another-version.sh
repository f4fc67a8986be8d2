#!/bin/bash
# py-rattler 0.28.0 reads a pixi.lock of version 6 and writes version 7. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: the file that LockFile.to_path() writes has the version of the file that was read; at most its layout differs.
# Seen: it is of version 7, and no argument selects the version. The library of the older pixi releases (here py-rattler 0.16.0) refuses it:
# "only up to including version 6 is supported". Version 7 adds a list of platforms with the virtual packages that each was solved for.
# Version 6 does not record those, so the new list names the platforms and nothing else. A reader that takes the list as complete, as pixi
# does (prefix-dev/pixi#6493), sees a solve without CUDA; the lock of version 6 made no statement.
# So a script that changes one thing in a lock through py-rattler can stop the environment on a cluster with an older pixi. Edit the YAML.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 0.16.0 0.28.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "py-rattler==$version"
done
cat >"$folder/pixi.lock" <<'END_OF_LOCK'
version: 6
environments:
  default:
    channels:
    - url: https://conda.example.org/demo/
    packages:
      linux-64:
      - conda: https://conda.example.org/demo/noarch/solver-1.0.0-0.conda
packages:
- conda: https://conda.example.org/demo/noarch/solver-1.0.0-0.conda
  sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  md5: 0123456789abcdef0123456789abcdef
  depends:
  - __cuda >=12
  size: 1000
END_OF_LOCK
"$folder/0.28.0/bin/python" - "$folder/pixi.lock" "$folder/written.lock" <<'END_OF_PYTHON'
import sys
from rattler import LockFile

LockFile.from_path(sys.argv[1]).to_path(sys.argv[2])
lock = LockFile.from_path(sys.argv[2])
platforms = [(platform.name, platform.virtual_packages) for platform in lock.platforms()]
if platforms != [("linux-64", [])]:
    sys.exit(f"the written lock now has the platforms {platforms}")
END_OF_PYTHON
expect() { grep -qF -- "$2" "$1" || { echo "no longer seen: $2"; cat "$1"; exit 1; }; }
expect "$folder/written.lock" 'version: 7'
expect "$folder/written.lock" '- name: linux-64'
"$folder/0.16.0/bin/python" -c 'import sys, rattler; rattler.LockFile.from_path(sys.argv[1])' "$folder/pixi.lock"
if "$folder/0.16.0/bin/python" -c 'import sys, rattler; rattler.LockFile.from_path(sys.argv[1])' "$folder/written.lock" 2>"$folder/error"; then
  echo "py-rattler 0.16.0 reads the written lock now"
  exit 1
fi
expect "$folder/error" 'only up to including version 6 is supported'
echo "as seen with py-rattler 0.28.0 and 0.16.0"
