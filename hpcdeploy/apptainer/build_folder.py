"""Prepare the folders of a build: check the temporary folder, lock the build's folder, and stage the build context."""

import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.errors import BuildError, ConfigError
from hpcdeploy.image import ContextFile, Definition
from hpcdeploy.private import private_folder
from hpcdeploy.whole_file import sha256_of

_UNFIT = re.compile(r"""[()'",;&|`$<>:^]|[ \t]#""")
"""Characters that the path of APPTAINER_TMPDIR must not contain.

``apptainer build`` ends with ``apptainer inspect``, which writes this path into a shell script without quotes, and splits
the path at ``:`` (Apptainer 1.4.5, cmd/internal/cli/inspect.go: newCommand). With one of these characters the inspection
fails ("could not inspect container"), or finds no labels. The option ``--bind`` of the build also splits the path, at ``,``
and ``:``. ``login/build.sh`` has the same list.
"""


def check_temporary(folder: str) -> None:
    """Raise `ConfigError` if the path `folder` has a character with which Apptainer cannot use it for temporary files."""
    found = _UNFIT.search(folder)
    if found:
        raise ConfigError(
            f'Apptainer cannot build in {folder}: the path has {found[0]!r}, which causes "could not inspect container", '
            "lost labels or a failing mount. Set APPTAINER_TMPDIR to a folder without any of "
            "( ) ' \" , ; & | ` $ < > : ^ and ' #'"
        )


@contextmanager
def only_build(folder: Path, show: Show) -> Iterator[None]:
    """Create the build's `folder`, and hold its lock during the block, so that only one process builds the same inputs.

    If another process holds the lock, report a step to `show`, and wait until that process releases it. Apptainer inherits
    the lock. So if this process is killed, the next build still waits until Apptainer has ended.

    Raises:
        OSError: The folder or the lock cannot be created.
    """
    private_folder(folder.parent)
    private_folder(folder)
    with (folder / "lock").open("a") as lock:
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003 - it has no keyword
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.step("waiting for another build of the same inputs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(*folders: Path) -> None:
    """Remove folders with their content. The permissions of folders are changed first, because a build may remove them."""
    for folder in folders:
        for path, names, _ in os.walk(folder):
            for name in names:
                inner = Path(path) / name
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


DEFINITION = "image.def"
"""File name of the definition in the build context."""


def stage_context(definition: Definition, text: str, folder: Path) -> Path:
    """Write the definition's `text` and its files to the new `folder`; return the path of the written definition.

    Raises:
        BuildError: The content of a file changed after its checksum was computed.
        OSError: A file cannot be read or written.
    """
    folder.mkdir(parents=True)
    for file in definition.files:
        target = folder / file.staged
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target)
        target.chmod(file.mode)
        if sha256_of(target) != file.sha256:
            raise _changed(file.source)
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        inner.chmod(0o755)  # the image gets the modes of these folders, so they must not depend on the umask
    path = folder / DEFINITION
    path.write_text(text, encoding="utf-8")
    return path


def pack_context(definition: Definition, text: str, archive: Path) -> str:
    """Write the files of `stage_context` to a tar archive; return the sha256 of the archive.

    The sha256 depends only on the names, modes and contents of the files, not on their times.

    Raises:
        BuildError: The content of a file changed after its checksum was computed.
        OSError: A file cannot be read or written.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        body = text.encode()
        tar.addfile(_entry(DEFINITION, len(body), 0o644), io.BytesIO(body))
        _add(tar, definition.files)
    return sha256_of(archive)


def pack_files(files: Sequence[ContextFile], archive: Path) -> str:
    """Write `files` to a tar archive, by their names in the build's folder; return the sha256 of the archive.

    Raises:
        BuildError: The content of a file changed after its checksum was computed.
        OSError: A file cannot be read or written.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, files)
    return sha256_of(archive)


def _add(tar: tarfile.TarFile, files: Sequence[ContextFile]) -> None:
    for file in sorted(files, key=lambda file: file.staged):
        with file.source.open("rb") as opened:
            content = _Hashed(opened)
            try:
                tar.addfile(_entry(file.staged, os.fstat(opened.fileno()).st_size, file.mode), content)
            except OSError as error:
                if error.errno:
                    raise
                # tarfile raises an OSError without errno if a file ends before its size.
                raise _changed(file.source) from error
        if content.sha256.hexdigest() != file.sha256:
            raise _changed(file.source)


class _Hashed:
    """A file that is hashed while it is read. A file may be larger than the memory, so it is read only once, in blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.sha256.update(block)
        return block


def _entry(name: str, size: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def _changed(path: Path) -> BuildError:
    return BuildError(
        f"{path} changed while the build was prepared; run the same command again when the file no longer changes"
    )
