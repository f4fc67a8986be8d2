"""Cache the checksums and texts of files, so that unchanged files are not read again.

The key of a cached file is its `Signature`, which consists of metadata. A file can change without changing its signature: if
it changes twice within one tick of the file system's clock, and its size stays the same. So a file is only cached if its
last change was at least `GRAIN_NS` before it was read. Git's index uses the same metadata and has the same problem ("racy
git", Git's ``Documentation/technical/racy-git.txt``).
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hpcdeploy.checked_values import read_json
from hpcdeploy.regular_file import LARGEST_LOCK, check_regular, read_regular
from hpcdeploy.whole_file import sha256_of

Signature = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, time of the last change of the content (``mtime``) and of the inode (``ctime``) in ns."""

GRAIN_NS = 2_000_000_000
"""Minimum age in ns of the last change of a cached file.

It is the tick of the coarsest clock: FAT has 2 s, while ext4, xfs and NFS use the kernel's tick of 1 to 10 ms.
"""

LARGEST_TEXT = 20_000_000
"""Maximum length in characters of a cached text. Of a longer text only the sha256 is cached."""

Document = Mapping[str, object]


@dataclass(frozen=True)
class Known:
    """The cached content of a file.

    Attributes:
        sha256: The checksum of the content (64 hex digits).
        text: The content as text; None if only the checksum is cached.
    """

    sha256: str
    text: str | None = None


class KnownFiles:
    """A cache of files, filled by earlier commands and by this one.

    Args:
        text: The result of `written` in an earlier command. A malformed text is treated as empty.
        now: Function that returns the time in ns since 1970.
    """

    def __init__(self, text: str = "", *, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._files, self._documents = _read(text)
        self._used: dict[Signature, Known] = {}
        self._used_documents: dict[str, Document] = {}
        self.read: dict[Path, str] = {}
        """The sha256 of each file that was requested, by its path."""
        self.learned = False
        """Whether the cache has entries that the text of the earlier command lacks, so that it must be written again."""

    def sha256(self, path: Path) -> str:
        """Return a file's sha256 in hex digits. The file is only read if it is not cached.

        Raises:
            OSError: The file cannot be read, or is not a regular file.
        """
        return self._look(path, None, keep=lambda _text: True).sha256

    def text(self, path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
        """Return a file's text (UTF-8, with unchanged line breaks). The file is only read if its text is not cached.

        Args:
            path: The path of the file.
            keep: Function that tells whether a text may be cached.
            limit: Maximum size of the file in bytes.

        Raises:
            OSError: The file cannot be read, is not a regular file, or is too large.
            UnicodeDecodeError: The file is not UTF-8.
        """
        return self._look(path, limit, keep=keep).text or ""

    def document(self, text: str, parse: Callable[[], Document]) -> Document:
        """Return the result of `parse`, which parses `text`. If the same text was parsed before, return the cached result.

        A result is only cached if it is equal after a conversion to JSON and back. Exceptions of `parse` are not caught.
        """
        key = hashlib.sha256(text.encode()).hexdigest()
        known = self._documents.get(key)
        if known is None:
            known = parse()
            if not _survives_json(known):
                return known
            self.learned = True
        self._used_documents[key] = known
        return known

    def written(self) -> str:
        """Return the entries of the cache that this command used or added, as JSON."""
        files = [[*signature, known.sha256, known.text] for signature, known in self._used.items()]
        return json.dumps({"files": files, "documents": self._used_documents})

    def _look(self, path: Path, limit: int | None, *, keep: Callable[[str], bool]) -> Known:
        """Return the checksum of a file, and also its text if `limit` is given (the maximum size of the text in bytes)."""
        now = self._now()
        status = path.stat()
        check_regular(path, status, limit)
        before = signature(status)
        known = self._used.get(before) or self._files.get(before)
        if known is None or (limit is not None and known.text is None):
            known = Known(sha256_of(path)) if limit is None else _content(path, limit)
            if signature(path.stat()) == before and is_settled(before, now):
                self._remember(before, known, keep)
        else:
            self._used[before] = known
        self.read[path] = known.sha256
        return known

    def _remember(self, signed: Signature, known: Known, keep: Callable[[str], bool]) -> None:
        fits = known.text is not None and len(known.text) <= LARGEST_TEXT and keep(known.text)
        kept = known if fits else Known(known.sha256)
        self.learned = self.learned or kept != self._files.get(signed)
        self._used[signed] = kept


def signature(status: os.stat_result) -> Signature:
    """Return the signature of a file from its status. If `is_settled`, each later change of the file changes it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(known: Signature, now_ns: int) -> bool:
    """Tell whether the last change of a file was at least `GRAIN_NS` before `now_ns` (ns since 1970).

    Then each later change gets another time, so it is detected. The result is false for a time in the future, because that
    time comes from the clock of another machine.
    """
    return max(known[3:]) <= now_ns - GRAIN_NS


_CURRENT: ContextVar[KnownFiles | None] = ContextVar("known_files", default=None)


@contextmanager
def remembering(known: KnownFiles) -> Iterator[KnownFiles]:
    """Make `known` the cache of `digest_of`, `text_of` and `document_of` during the block."""
    token = _CURRENT.set(known)
    try:
        yield known
    finally:
        _CURRENT.reset(token)


def digest_of(path: Path) -> str:
    """Return a file's sha256 in hex digits (`KnownFiles.sha256`). Use the cache of `remembering` if there is one.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
    """
    return (_CURRENT.get() or KnownFiles()).sha256(path)


def text_of(path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
    """Return a file's text (`KnownFiles.text`). Use the cache of `remembering` if there is one."""
    return (_CURRENT.get() or KnownFiles()).text(path, keep, limit=limit)


def document_of(text: str, parse: Callable[[], Document]) -> Document:
    """Return the result of `parse` for `text` (`KnownFiles.document`). Use the cache of `remembering` if there is one."""
    known = _CURRENT.get()
    return known.document(text, parse) if known else parse()


def _content(path: Path, limit: int) -> Known:
    content = read_regular(path, limit)
    return Known(hashlib.sha256(content).hexdigest(), content.decode())


def _survives_json(document: Document) -> bool:
    try:
        return bool(json.loads(json.dumps(document)) == document)
    except (TypeError, ValueError, RecursionError):
        return False


def _read(text: str) -> tuple[dict[Signature, Known], dict[str, Document]]:
    try:
        values = read_json(text, most=sys.maxsize) if text else {"files": [], "documents": {}}
        files = {cast("Signature", tuple(entry[:5])): Known(entry[5], entry[6]) for entry in values["files"]}
        return files, dict(values["documents"])
    except (ValueError, TypeError, KeyError, IndexError):
        return {}, {}
