"""shellcheck, in the release that pyproject.toml pins: each has new rules, and Debian's differs from machine to machine."""

import hashlib
import subprocess
import sys
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("shellcheck"))
CLEAN = Path(__file__).parent.parent / ".pytest_cache" / "shellcheck"
"""Holds an empty file for each text that this release found nothing in, named after text and options: it takes a second."""


def findings(script: str, *options: str) -> str:
    """Return what shellcheck finds in a script, "" where that is nothing."""
    release = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    known = CLEAN / hashlib.sha256("\0".join((release, *options, script)).encode()).hexdigest()
    if known.exists():
        return ""
    done = subprocess.run([PROGRAM, *options, "-"], input=script, text=True, capture_output=True, check=False)
    found = done.stdout + done.stderr
    assert bool(found) == bool(done.returncode), f"shellcheck ended with {done.returncode}: {found}"
    if not found:
        CLEAN.mkdir(parents=True, exist_ok=True)
        known.touch()
    return found
