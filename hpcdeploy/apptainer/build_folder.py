"""Prepare the folder in which Apptainer builds: its temporary space, its mode, and the build context."""

import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.errors import BuildError, ConfigError
from hpcdeploy.image import Definition
from hpcdeploy.private import private_folder
from hpcdeploy.whole_file import sha256_of

_UNFIT = re.compile(r"""[()'",;&|`$<>:^]|[ \t]#""")
"""Characters that the path of APPTAINER_TMPDIR must not contain.

At its end a build runs ``apptainer inspect``, which writes that path into a shell script without quotes, and splits it at
``:`` (Apptainer 1.4.5, cmd/internal/cli/inspect.go: newCommand). That fails ("could not inspect container"), or finds no
labels. The build's ``--bind`` splits it at ``,`` and ``:``. `login/build.sh` has the same list.
"""


def check_temporary(folder: str) -> None:
    """Raise `ConfigError` if Apptainer cannot build with `folder` for its temporary files."""
    found = _UNFIT.search(folder)
    if found:
        raise ConfigError(
            f'Apptainer cannot build in {folder}: the path has {found[0]!r}, which causes "could not inspect container", '
            "lost labels or a failing mount. Set APPTAINER_TMPDIR to a folder without any of "
            "( ) ' \" , ; & | ` $ < > : ^ and ' #'"
        )


@contextmanager
def only_build(folder: Path, show: Show) -> Iterator[None]:
    """Allow one build of the same inputs at a time."""
    private_folder(folder.parent)
    private_folder(folder)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.step("waiting for another build of the same inputs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(*folders: Path) -> None:
    """Remove folders, including those that a build made unreadable to their owner."""
    for folder in folders:
        for path, names, _ in os.walk(folder):
            for name in names:
                inner = Path(path) / name
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


DEFINITION = "image.def"
"""Name of the definition in the folder."""


def stage_context(definition: Definition, text: str, folder: Path) -> Path:
    """Write `text` and the definition's files to the new `folder`; return the definition's path.

    Raises:
        BuildError: A file has changed.
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
        inner.chmod(0o755)  # for any umask, because the image has the same modes
    path = folder / DEFINITION
    path.write_text(text, encoding="utf-8")
    return path


def pack_context(definition: Definition, text: str, archive: Path) -> str:
    """Write the same folder as a tar archive; return its sha256, which only depends on the content.

    Raises:
        BuildError: A file has changed.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        body = text.encode()
        tar.addfile(_entry(DEFINITION, len(body), 0o644), io.BytesIO(body))
        for file in sorted(definition.files, key=lambda file: file.staged):
            with file.source.open("rb") as opened:
                content = _Hashed(opened)
                try:
                    tar.addfile(_entry(file.staged, os.fstat(opened.fileno()).st_size, file.mode), content)
                except OSError as error:
                    if error.errno:
                        raise
                    # tarfile's error for a file that ended before its size.
                    raise _changed(file.source) from error
            if content.sha256.hexdigest() != file.sha256:
                raise _changed(file.source)
    return sha256_of(archive)


class _Hashed:
    """A file that is hashed while it is read, because an image's archive does not fit into memory."""

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
    return BuildError(f"{path} changed while the build was prepared; run the same command again when it no longer changes")
