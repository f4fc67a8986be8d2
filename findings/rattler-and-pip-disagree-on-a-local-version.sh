#!/bin/bash
# For conda, 2.5.1+cu124 is older than 2.5.1; for pip, it is newer. Seen on 2026-11-29 with py-rattler 0.28.0 (the version order of pixi)
# and packaging 25.0 (that of pip), Python 3.11.
#
# Guess before the run: both order the local version "+cu124" after the version without it.
# Seen: rattler orders it before. ">=2.5.1" accepts 2.5.1+cu124 in packaging and refuses it in rattler, "<2.5.1" is the other way round,
# and "==2.5.1" holds in packaging only. "=2.5.1" (which is 2.5.1.* to conda) accepts it.
# PyTorch wheels carry such versions, and one pixi.lock has packages of both kinds. So a check such as "at least 2.5.1" on the versions of a
# lock must use the order of the package's own kind. The wrong one rejects the CUDA build of just the version that was asked for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check py-rattler==0.28.0 packaging==25.0
"$folder/venv/bin/python" - <<'END_OF_PYTHON'
import sys
import packaging.version
from packaging.specifiers import SpecifierSet
from rattler import Version, VersionSpec


def expect(seen, expected):
    if seen != expected:
        sys.exit(f"now {seen}, not {expected}")


expect(packaging.version.Version("2.5.1+cu124") > packaging.version.Version("2.5.1"), True)
expect(Version("2.5.1+cu124") < Version("2.5.1"), True)
for spec, by_packaging, by_rattler in (
    (">=2.5.1", True, False),
    ("<2.5.1", False, True),
    ("==2.5.1", True, False),
):
    expect((spec, SpecifierSet(spec).contains("2.5.1+cu124")), (spec, by_packaging))
    expect((spec, VersionSpec(spec).matches(Version("2.5.1+cu124"))), (spec, by_rattler))
expect(VersionSpec("=2.5.1").matches(Version("2.5.1+cu124")), True)
END_OF_PYTHON
echo "as seen with py-rattler 0.28.0 and packaging 25.0"
