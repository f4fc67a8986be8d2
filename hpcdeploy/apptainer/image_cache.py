"""Keep built images by key in a private folder of this machine, so that nothing is built twice.

An entry is the image ``KEY.sif`` with its record ``KEY.json``. The record is written last, so an image without a record is
incomplete. An entry whose content differs from its record is moved to the folder `DAMAGED`, and never used.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer.build_record import read_record, record_path, write_record
from hpcdeploy.apptainer.placing import place, unfinished
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.errors import BuildError
from hpcdeploy.image import BuiltImage
from hpcdeploy.private import own_folder
from hpcdeploy.whole_file import part_name, remove_parts

DAMAGED = "damaged"
"""The folder in the cache for entries whose content differs from their record."""

_OTHER_FILE_SYSTEM = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})
"""Errors of link(2) if a file cannot get a second name: another file system, or one without hard links."""


class ImageCache:
    """The images that were built on this machine, by key.

    Only the process that holds the lock of a key (`hpcdeploy.apptainer.build_folder.only_build`) may call `find`,
    `remove_unfinished` or `keep` for this key.

    Args:
        folder: The private folder of the entries.
        verified: The recorded checksums of files.
    """

    def __init__(self, folder: Path, verified: VerifiedFiles) -> None:
        self.folder = folder
        self.verified = verified

    def path(self, key: str) -> Path:
        """Return the path of the image with this key."""
        return self.folder / f"{key}.sif"

    def find(self, key: str, report: Callable[[str], None] = lambda _text: None) -> BuiltImage | None:
        """Return the image with this key; None if there is none.

        A damaged or incomplete entry is moved aside, and `report` receives a message.

        Raises:
            OSError: The cache cannot be read.
        """
        self.remove_unfinished(key)
        image = self.path(key)
        try:
            found = read_record(image, inputs=(key,), sha256=self.verified.sha256)
        except BuildError:
            found = None
        if found:
            with suppress(OSError):  # the time of the last use, for `hpcdeploy cache prune`
                os.utime(record_path(image))
            return found
        if image.exists() and record_path(image).exists():
            self.move_aside(key)
            report(f"the image {key[:16]} in the cache is damaged; it was moved to {self.folder / DAMAGED}")
        for incomplete in (image, record_path(image)):
            incomplete.unlink(missing_ok=True)
        return None

    def remove_unfinished(self, key: str) -> None:
        """Remove the incomplete files of this key, which an interrupted call left."""
        for left in self.folder.glob(f".{key}.*"):
            left.unlink(missing_ok=True)
        remove_parts(record_path(self.path(key)))

    def keep(self, image: BuiltImage, *, copy: bool = False) -> BuiltImage | None:
        """Add the image file at ``image.path`` under the key ``image.inputs``; return the entry.

        The entry is a second name of the same file, which needs no space. A later change of the file damages the entry;
        `find` detects this. If the file system has no second names, nothing is added, unless `copy` is set.

        Raises:
            OSError: The entry cannot be written, for example because the disk is full. The cache is then unchanged.
        """
        own_folder(self.folder)
        target = self.path(image.inputs)
        part = Path(part_name(str(target.with_name(f".{image.inputs}"))))
        record_path(target).unlink(missing_ok=True)
        try:
            with self.verified.renaming(Path(image.path)):
                if not _second_name(Path(image.path), part):
                    if not copy:
                        return None
                    _copy(Path(image.path), part)
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        try:
            if self.verified.sha256(target) == image.sha256:
                return write_record(replace(image, path=str(target), built_on="", cached_on=""))
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        target.unlink(missing_ok=True)
        return None

    def give(self, entry: BuiltImage, output: Path, notes: Path) -> BuiltImage:
        """Write the image of an `entry` and its record to `output`, atomically; return the image with its new path.

        `notes` is the private folder of `hpcdeploy.apptainer.placing`.

        Raises:
            OSError: `output` cannot be written. An existing file is then unchanged.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(output) as made, self.verified.renaming(Path(entry.path)):
            if not _second_name(Path(entry.path), made):
                _copy(Path(entry.path), made)
            place(made, output, notes)
        return write_record(replace(entry, path=str(output)))

    def entries(self) -> Iterator[BuiltImage]:
        """Yield the recorded entries. Their content is not verified; unreadable records are left out."""
        for path in sorted(self.folder.glob("*.sif")) if self.folder.is_dir() else ():
            with suppress(BuildError, OSError):
                found = read_record(path, inputs=(path.stem,), sha256=None)
                if found:
                    yield found

    def move_aside(self, key: str) -> None:
        """Move the entry of a key to the folder `DAMAGED`, where nothing uses it."""
        aside = self.folder / DAMAGED
        own_folder(aside)
        for path in (self.path(key), record_path(self.path(key))):
            with suppress(FileNotFoundError):
                path.replace(aside / path.name)


def _second_name(path: Path, name: Path) -> bool:
    """Give the file `path` a second `name`; return False if its file system does not support this.

    Raises:
        OSError: Another error.
    """
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno in _OTHER_FILE_SYSTEM:
            return False
        raise
    return True


def _copy(path: Path, target: Path) -> None:
    """Copy a file to a new file, and synchronise it to disk."""
    with path.open("rb") as source, target.open("xb") as copied:
        shutil.copyfileobj(source, copied, 1 << 20)
        copied.flush()
        os.fsync(copied.fileno())
    shutil.copymode(path, target)
