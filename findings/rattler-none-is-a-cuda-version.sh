#!/bin/bash
# CONDA_OVERRIDE_CUDA=none gives a machine without a GPU a CUDA driver. Seen on 2026-11-29 with py-rattler 0.28.0 (the solver library of
# pixi), Python 3.11.
#
# Guess before the run: a value that is no version, such as "none", is an error; the empty string means no driver.
# Seen: the empty string does mean no driver. "none" is a valid conda version of letters only, so __cuda is present with version "none".
# A package that depends on plain "__cuda", as builds for GPUs do, then fits; so does one that needs "__cuda <13". "__cuda >=12" does not.
# CONDA_OVERRIDE_CUDA_ARCH=9.0 without CONDA_OVERRIDE_CUDA is dropped without a message where no driver is found.
# So a job or a login node that must get the CPU build needs CONDA_OVERRIDE_CUDA="" (set, and empty).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check py-rattler==0.28.0
"$folder/venv/bin/python" - <<'END_OF_PYTHON'
import os
import sys
from rattler import BuildString, MatchSpec, PackageRecord, VirtualPackage, VirtualPackageOverrides


def detect(**variables):
    for name in ("CONDA_OVERRIDE_CUDA", "CONDA_OVERRIDE_CUDA_ARCH"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    packages = [package.into_generic() for package in VirtualPackage.detect(VirtualPackageOverrides.from_env())]
    return {p.name.normalized: str(p.version) for p in packages if p.name.normalized.startswith("__cuda")}


def fits(spec, version):
    record = PackageRecord(
        name="__cuda",
        version=version,
        build=BuildString("0"),
        build_number=0,
        subdir="noarch",
        arch=None,
        platform=None,
    )
    return MatchSpec(spec).matches(record)


def expect(seen, expected):
    if seen != expected:
        sys.exit(f"now {seen}, not {expected}")


expect(detect(CONDA_OVERRIDE_CUDA=""), {})
expect(detect(CONDA_OVERRIDE_CUDA="none"), {"__cuda": "none"})
expect([fits(spec, "none") for spec in ("__cuda", "__cuda <13", "__cuda >=12")], [True, True, False])
expect(detect(CONDA_OVERRIDE_CUDA="12.4", CONDA_OVERRIDE_CUDA_ARCH="9.0"), {"__cuda": "12.4", "__cuda_arch": "9.0"})
expect(detect(CONDA_OVERRIDE_CUDA="", CONDA_OVERRIDE_CUDA_ARCH="9.0"), {})
END_OF_PYTHON
echo "as seen with py-rattler 0.28.0"
