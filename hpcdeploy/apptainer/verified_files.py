"""Record the checksums of images in a private folder, so that an unchanged image is not read again.

A recorded checksum counts while the file has the same `Signature`: device, inode, size, and the times of the last change of
its content and of its inode. After any change, the file is read again.

`hpcdeploy.known_files` only records a file that has not changed for two seconds, which would exclude an image that was just
built. Here the file is recorded at once if its time of change has fractions of a second: such a file system has a clock that
ticks at least every 10 ms (the kernel's tick; CONFIG_HZ is 100 or more). So after a pause of `TICK` seconds, every later
change results in another time, whatever clock the file system uses.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcdeploy.checked_values import read_json
from hpcdeploy.known_files import Signature, is_settled, signature
from hpcdeploy.private import own_folder, read_private
from hpcdeploy.regular_file import check_regular
from hpcdeploy.whole_file import remove_parts, sha256_of, write_whole

TICK = 0.05
"""Seconds after which the clock of a file system with fractions of a second has another value."""

_SECOND = 1_000_000_000


class VerifiedFiles:
    """The recorded checksums of files.

    Args:
        folder: The private folder of the records. It is created when the first checksum is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sha256(self, path: Path) -> str:
        """Return a file's sha256 in hex digits. The file is only read if its recorded signature has changed.

        A checksum that cannot be recorded, for example because the disk is full, is computed again by the next call.

        Raises:
            OSError: The file cannot be read, or is not a regular file.
        """
        status = path.stat()
        check_regular(path, status)
        known = self._recorded(signature(status))
        if known:
            return known
        if self._has_fractions(signature(status)):
            time.sleep(TICK)
        before, now = signature(path.stat()), time.time_ns()
        sha256 = sha256_of(path)
        unchanged = signature(path.stat()) == before
        if unchanged and (is_settled(before, now) or (self._has_fractions(before) and before == signature(status))):
            self._record(path, before, sha256)
        return sha256

    @contextmanager
    def renaming(self, path: Path) -> Iterator[None]:
        """Keep the checksum of the file `path` while the block gives it another name or mode, which changes its inode only.

        Nothing is recorded if the block replaces the file, or if its content changes meanwhile.
        """
        before = signature(path.stat())
        known = self._recorded(before)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # the same file under its new name
        try:
            yield
            after = signature(os.fstat(descriptor))
            if known and after[:4] == before[:4] and self._has_fractions(after):
                time.sleep(TICK)
                if signature(os.fstat(descriptor)) == after:
                    self._record(path, after, known)
        finally:
            os.close(descriptor)

    def remove_stale(self) -> None:
        """Remove the records of files that do not exist any more under the name at which they were read."""
        for place in self.folder.glob("*") if self.folder.is_dir() else ():
            try:
                values = read_json(read_private(self.folder, place.name))
                path = Path(os.fsdecode(bytes.fromhex(values["path"])))
                stale = signature(path.stat()) != tuple(values["signature"])
            except (OSError, ValueError, TypeError, KeyError):
                stale = True
            if stale and ".part-" not in place.name:
                place.unlink(missing_ok=True)
            remove_parts(place.with_name(place.name.partition(".part-")[0]))

    def _name(self, signed: Signature) -> str:
        """Return the name of a record. It is that of the inode, because a file may have several names."""
        return f"{signed[0]}-{signed[1]}.json"

    def _recorded(self, signed: Signature) -> str | None:
        """Return the recorded checksum of the file with exactly this signature."""
        try:
            values = read_json(read_private(self.folder, self._name(signed)))
            return str(values["sha256"]) if tuple(values["signature"]) == signed else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _record(self, path: Path, signed: Signature, sha256: str) -> None:
        values = {"path": os.fsencode(path.absolute()).hex(), "signature": signed, "sha256": sha256}
        with suppress(OSError):
            own_folder(self.folder)
            write_whole(self.folder / self._name(signed), json.dumps(values), private=True)

    @staticmethod
    def _has_fractions(signed: Signature) -> bool:
        """Tell whether the inode's time of change has fractions of a second, unlike on FAT and some network file systems."""
        return signed[4] % _SECOND != 0
