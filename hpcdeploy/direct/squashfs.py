"""Pack a tar stream into a squashfs file with mksquashfs, and choose the compression."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.image import Compression
from hpcdeploy.limits import interrupts_held

_MEMORY = "512M"
_TAIL = 4000
_VERSION = re.compile(r"squashfs version ([0-9]{1,4})\.([0-9]{1,4})")
_FIRST = (4, 5)
"""The first version with ``-tar`` (CHANGES of squashfs-tools 4.5)."""

_REMEDY = "install squashfs-tools 4.5 or later, or build with --builder apptainer"


def find_mksquashfs() -> str:
    """Return the path of mksquashfs.

    Raises:
        MissingProgramError: mksquashfs is not on PATH, nor in the folders for administrators, or it is too old.
    """
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/local/sbin"))
    found = shutil.which("mksquashfs", path=places)
    if not found:
        raise MissingProgramError(f"mksquashfs is not on this machine's PATH; {_REMEDY}")
    done = subprocess.run(
        [found, "-version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    match = _VERSION.search(done.stdout.decode(errors="replace"))
    if match and (int(match[1]), int(match[2])) < _FIRST:
        raise MissingProgramError(f"{found} has the version {match[1]}.{match[2]}, which cannot read tar streams; {_REMEDY}")
    return found


def pack(write: Callable[[BinaryIO], None], target: Path, *, compression: Compression, time: int) -> None:
    """Write a squashfs file from a tar stream. Equal streams give equal bytes.

    All files belong to root, as in an image that an ordinary user builds with Apptainer.

    Args:
        write: Writes the stream.
        target: The new file.
        compression: The compression.
        time: The time of all files, in seconds since 1970.

    Raises:
        BuildError: mksquashfs failed.
        MissingProgramError: mksquashfs is not installed.
    """
    # sqfstar, the other program for tar streams, rejects levels of compression in squashfs-tools 4.5.1.
    argv = [
        *(find_mksquashfs(), "-", str(target), "-tar", "-noappend", *compression.options),
        *("-all-root", "-root-mode", "0755", "-root-uid", "0", "-root-gid", "0"),
        *("-all-time", str(time), "-mkfs-time", str(time), "-mem", _MEMORY, "-no-progress", "-quiet"),
    ]
    # With this variable, mksquashfs refuses the options for times.
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    with tempfile.TemporaryFile() as output:
        with interrupts_held():
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            assert process.stdin is not None
            broken = False
            try:
                with process.stdin as stream:
                    write(cast("BinaryIO", stream))
            except BrokenPipeError:
                broken = True  # mksquashfs ended early, and its output has the reason
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code or broken:
            target.unlink(missing_ok=True)
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - _TAIL))
            tail = output.read().decode(errors="replace").strip()
            raise BuildError(f"mksquashfs ended with exit code {code}; its last lines:\n{tail}")
