"""Pack images in a repeatable way on this machine: find the squashfs tools, and run ``login/squashfs.py`` as mksquashfs.

Apptainer finds mksquashfs on the caller's PATH, unless the site sets ``mksquashfs path`` or ``binary path`` in
apptainer.conf. So a program of this name in a folder that is first on PATH is called at the end of a build, when all files
of the image exist.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.apptainer.sif_edit import rewrites_of
from hpcdeploy.errors import BuildError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ZSTD, Compression
from hpcdeploy.shell import word
from hpcdeploy.shell_script import library_file

ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
"""The environment variables of the squashfs tools.

The variables of this process may contain secrets of the build. With SOURCE_DATE_EPOCH, mksquashfs refuses the options for
times.
"""

_SEARCHED = ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
"""Folders in which Apptainer searches after those of PATH (``internal/pkg/util/env``: DefaultPath)."""

_FIRST = (4, 4)
"""The first version with ``-all-time`` and repeatable output (README of squashfs-tools 4.4)."""

MEMORY = "512M"
"""Limit of mksquashfs's memory (``-mem``); without it, mksquashfs uses a quarter of the machine's memory."""

_VERSION = re.compile(r"squashfs version ([0-9]+)\.([0-9]+)")


@frozen
class SquashfsTools:
    """The squashfs tools of this machine.

    Attributes:
        mksquashfs: The path of mksquashfs.
        unsquashfs: The path of unsquashfs; empty if it is missing.
    """

    mksquashfs: str
    unsquashfs: str


def find_tools(folder: Path) -> SquashfsTools | str:
    """Return the squashfs tools that Apptainer would use, or the reason why they cannot pack in a repeatable way.

    `folder` is an existing folder in which a program can be written that runs them (`install_packer`).
    """
    if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):  # macOS does not name this flag
        return f"no program in {folder} can run (its file system is mounted with noexec)"
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SEARCHED))
    mksquashfs = shutil.which("mksquashfs", path=path)
    if mksquashfs is None:
        return "mksquashfs is not on this machine's PATH"
    done = subprocess.run(
        [mksquashfs, "-version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        check=False,
    )
    match = _VERSION.search(done.stdout.decode(errors="replace"))
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < _FIRST:
        return f"{mksquashfs} is older than version 4.4" if match else f"{mksquashfs} does not print its version"
    return SquashfsTools(mksquashfs=mksquashfs, unsquashfs=shutil.which("unsquashfs", path=path) or "")


@frozen
class Packing:
    """How the files of an image are packed.

    Attributes:
        epoch: The time of all files, in seconds since 1970.
        compression: The compression of the file system.
        addresses: The address of a registry by the address of the mirror that replaces it in the build.
        places: The paths in the image at which the code will be; none if the code is copied in the build.
    """

    epoch: int
    compression: Compression = ZSTD
    addresses: Mapping[str, str]
    places: tuple[str, ...] = ()


@frozen
class Packed:
    """What ``login/squashfs.py`` reported.

    Attributes:
        problem: The reason why the places of the code could not be replaced by links; empty if they were.
        beside: The names beside the code, by the path of their folder in the image.
        left: The number of compiled Python files that could not be changed.
    """

    problem: str
    beside: Mapping[str, tuple[str, ...]]
    left: int


def install_packer(folder: Path, tools: SquashfsTools, packing: Packing) -> Path:
    """Write the program ``mksquashfs`` to the new `folder`, which must be first on Apptainer's PATH; return the report.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir()
    report = folder.absolute() / "report.json"
    plan = {
        "program": tools.mksquashfs,
        "epoch": packing.epoch,
        "options": [*packing.compression.options, "-mem", MEMORY],
        "rewrites": rewrites_of(packing.epoch, packing.addresses),
        "places": list(packing.places),
        "started": time.time(),
        "report": str(report),
    }
    script = folder / "squashfs.py"
    script.write_text(library_file("squashfs.py"), encoding="utf-8")
    program = folder / "mksquashfs"
    words = " ".join(map(word, (sys.executable, "-I", "-S", str(script.absolute()), json.dumps(plan))))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return report


def read_report(report: Path) -> Packed | None:
    """Return what was done in the build; None if Apptainer did not run the program of `install_packer`.

    Raises:
        BuildError: The report is damaged.
    """
    if not report.exists():
        return None
    try:
        problem, left, *pairs = os.fsdecode(report.read_bytes()).removesuffix("\0").split("\0")
        beside: dict[str, tuple[str, ...]] = {}
        for folder, name in zip(pairs[::2], pairs[1::2], strict=True):
            beside[folder] = (*beside.get(folder, ()), name)
        return Packed(problem=problem, beside=beside, left=int(left))
    except ValueError as error:
        raise BuildError(f"{report} is damaged: {error}; build again") from error
