"""Append code to a copy of an environment's image, with mksquashfs's append mode.

The result is one file system, as if the code had been copied while the image was built. mksquashfs only adds names to the
root of a file system, and silently renames a name that exists. So all code is in one new folder of the root (`ROOT`), and
the environment has a link to it at each place of the code.

Measured with squashfs-tools 4.6.1 on an image of 492 MB: 0.45 s, and 0.3 MB of changed bytes.
"""

import errno
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.packing import ENVIRONMENT, SquashfsTools
from hpcdeploy.definition.code import belongs_to
from hpcdeploy.errors import BuildError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import CodePlace, ContextFile
from hpcdeploy.whole_file import sha256_of

ROOT = ".hpcdeploy.d"
"""The folder of the code in the root of an image; ``login/squashfs.py`` has the same name."""

MEMORY = "128M"
"""Limit of mksquashfs's memory (``-mem``)."""

_RENAMED = "already used! - trying"
"""Message of mksquashfs if it renames a file, because its name exists in the image (squashfs-tools 4.6.1)."""

_ROOT_LINE = re.compile(r"^d([rwxsStT-]{9}) .*squashfs-root$", re.MULTILINE)
_FULL = ("No space left on device", "Disk quota exceeded")


class CannotAppendError(Exception):
    """Code cannot be appended to this image, or with these programs; the message tells why."""


@frozen
class Code:
    """The code to append.

    Attributes:
        places: The files and folders of the code.
        files: The files of the build, among them those of the code.
        beside: The names beside the code, by the path of their folder in the image.
        key: The hex digits of a sha256 that names the image with this code.
        epoch: The time of all files, in seconds since 1970.
    """

    places: tuple[CodePlace, ...]
    files: tuple[ContextFile, ...]
    beside: Mapping[str, tuple[str, ...]]
    key: str
    epoch: int


def append_code(environment: Path, target: Path, code: Code, tools: SquashfsTools, work: Path) -> None:
    """Write the image `target`: a copy of the image `environment` with `code`. The environment's image is not changed.

    After an error, `target` may be incomplete.

    Args:
        environment: The image without code.
        target: The path of the new image, which no other process uses.
        code: The code.
        tools: The squashfs tools.
        work: A folder that does not exist, for the files to append.

    Raises:
        CannotAppendError: The image or the tools do not allow this.
        BuildError: A file changed while it was copied, or the disk is full.
        OSError: A file cannot be read or written.
    """
    shutil.copyfile(environment, target)
    target.chmod(0o755)
    try:
        with target.open("rb") as file:
            _, start, before = sif_edit.read_head(file.fileno())
        mode = _root_mode(target, start, tools)
        write_tree(work, code, mode)
        _run_mksquashfs(work, target, start, code.epoch, tools)
        sif_edit.grow(str(target), code.key)
        _check(target, start, before)
    except sif_edit.UnfitSifError as error:
        raise CannotAppendError(str(error)) from error


def write_tree(folder: Path, code: Code, mode: int) -> None:
    """Write the files to append to the new `folder`, which gets the `mode` of the image's root.

    Beside the code are links to what the image has beside it, so that a program which resolves its own path finds them.

    Raises:
        BuildError: A file changed after its checksum was computed.
        OSError: A file cannot be read or written.
    """
    root = folder / ROOT
    root.mkdir(parents=True)
    for place in code.places:
        for file in code.files:
            if belongs_to((place,), file):
                target = root / (place.destination.lstrip("/") + file.staged.removeprefix(place.staged))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.source, target)
                target.chmod(file.mode)
                if sha256_of(target) != file.sha256:
                    raise BuildError(
                        f"{file.source} changed while the build was prepared; run the same command again when the file no "
                        "longer changes"
                    )
    for path, names in code.beside.items():
        for name in names:
            link = root / path.lstrip("/") / name
            if not link.exists() and not link.is_symlink():
                link.symlink_to(f"{path}/{name}")
    for inner, _, _ in os.walk(root):
        Path(inner).chmod(0o755)
    folder.chmod(mode)


def _root_mode(image: Path, start: int, tools: SquashfsTools) -> int:
    """Return the mode of the image's root, which append mode replaces; check that the root has no folder `ROOT`."""
    words = [tools.unsquashfs, "-lln", "-o", str(start), str(image), ROOT]
    listed = _run(words)
    match = _ROOT_LINE.search(listed)
    if match is None:
        raise CannotAppendError(f"{tools.unsquashfs} does not list the image's root: {_last(listed)}")
    if f"squashfs-root/{ROOT}" in listed:
        raise CannotAppendError(f"the image has a file /{ROOT}")
    return mode_of(match[1])


def mode_of(text: str) -> int:
    """Return the permissions that `text` shows, such as ``rwxr-xr-x``."""
    mode = 0
    for number, character in enumerate(text):
        if character not in "-ST":
            mode |= 0o400 >> number
        if character in "sStT":
            mode |= (stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX)[number // 3]
    return mode


def _run_mksquashfs(tree: Path, image: Path, start: int, epoch: int, tools: SquashfsTools) -> None:
    times = ("-all-time", str(epoch), "-mkfs-time", str(epoch))
    # Without -no-recovery, mksquashfs writes a file into $HOME. Extended attributes of this machine, such as SELinux's, are
    # not copied; those in the image remain.
    options = ("-no-recovery", "-no-xattrs", "-all-root", *times, "-no-progress", "-mem", MEMORY)
    printed = _run([tools.mksquashfs, str(tree), str(image), "-offset", str(start), *options])
    if _RENAMED in printed:
        raise CannotAppendError(f"the image has a file /{ROOT}")


def _run(words: list[str]) -> str:
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT, check=False
    )
    printed = done.stdout.decode(errors="replace")
    if any(reason in printed for reason in _FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), words[2])
    if done.returncode:
        raise CannotAppendError(f"{words[0]} failed with exit code {done.returncode}: {_last(printed)}")
    return printed


def _last(printed: str) -> str:
    lines: Iterable[str] = (line.strip() for line in reversed(printed.splitlines()))
    return next((line for line in lines if line), "(no message)")


def _check(image: Path, start: int, before: int) -> None:
    """Check that the header, the table and the file system of an image name the same size."""
    with image.open("rb") as file:
        _, begins, size = sif_edit.read_head(file.fileno())
        file.seek(start + 40)  # bytes_used (Linux, fs/squashfs/squashfs_fs.h)
        used = int.from_bytes(file.read(8), "little")
    if begins != start or not 0 < used <= size - start:
        raise CannotAppendError(f"mksquashfs wrote {used} bytes into a file of {size} bytes (before: {before})")
