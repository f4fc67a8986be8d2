"""Cache the content of files by their metadata, so that unchanged files are not read again.

A file is identified by its `Signature`. Git's index uses the same values and has the same limit ("racy git", Git's
``Documentation/technical/racy-git.txt``). A file that changes twice within one tick of the file system's clock, to the same
size, keeps its signature. So a signature is only used if the file was unchanged for `GRAIN_NS` when it was read.
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
"""Device, inode, size in bytes, and change times of content and inode (``mtime``, ``ctime``) in ns."""

GRAIN_NS = 2_000_000_000
"""In ns. The coarsest clock is that of FAT, 2 s; ext4, xfs and NFS use the kernel's tick, 1 to 10 ms."""

LARGEST_TEXT = 20_000_000
"""In bytes. A longer text is read each time; only its sha256 is cached."""

Document = Mapping[str, object]


@dataclass(frozen=True)
class Known:
    """A file's sha256 in hex digits, and its text if it was read as text."""

    sha256: str
    text: str | None = None


class KnownFiles:
    """The cached files of earlier commands, by signature, and the files that this command reads.

    Args:
        text: The output of `written` of an earlier command; a malformed text counts as empty.
        now: Returns the time in ns since 1970.

    Attributes:
        read: The sha256 of each requested file.
        learned: Something was read that the given text lacks.
    """

    def __init__(self, text: str = "", *, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._files, self._documents = _read(text)
        self._used: dict[Signature, Known] = {}
        self._used_documents: dict[str, Document] = {}
        self.read: dict[Path, str] = {}
        """The sha256 of each requested file."""
        self.learned = False
        """Something was read that the given text lacks."""

    def sha256(self, path: Path) -> str:
        """Return a file's sha256 in hex digits; the file is only read if it is not cached.

        Raises:
            OSError: It cannot be read, or is not a regular file.
        """
        return self._look(path, None, keep=lambda _text: True).sha256

    def text(self, path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
        """Return a file's text (UTF-8, unchanged line ends); the file is only read if it is not cached.

        Args:
            path: The file.
            keep: Tells whether a text may be cached.
            limit: Maximum size in bytes.

        Raises:
            OSError: It cannot be read, is not a regular file, or is too large.
            UnicodeDecodeError: It is not UTF-8.
        """
        return self._look(path, limit, keep=keep).text or ""

    def document(self, text: str, parse: Callable[[], Document]) -> Document:
        """Return the result of `parse` for `text`, from the cache if the same text was parsed before.

        It is only cached if JSON preserves the value. Exceptions of `parse` are raised.
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
        """Return the used and new entries of the cache as JSON."""
        files = [[*signature, known.sha256, known.text] for signature, known in self._used.items()]
        return json.dumps({"files": files, "documents": self._used_documents})

    def _look(self, path: Path, limit: int | None, *, keep: Callable[[str], bool]) -> Known:
        """Return a file's content: with its text if there is a `limit` for it."""
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
    """Return what identifies a file; every change of its content changes it, if `is_settled`."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(known: Signature, now_ns: int) -> bool:
    """Tell whether the last change was `GRAIN_NS` before `now_ns` (since 1970), so that a later change is detected.

    A time in the future is never settled, because it comes from another clock.
    """
    return max(known[3:]) <= now_ns - GRAIN_NS


_CURRENT: ContextVar[KnownFiles | None] = ContextVar("known_files", default=None)


@contextmanager
def remembering(known: KnownFiles) -> Iterator[KnownFiles]:
    """Use `known` in `digest_of`, `text_of` and `document_of`, and add to it."""
    token = _CURRENT.set(known)
    try:
        yield known
    finally:
        _CURRENT.reset(token)


def digest_of(path: Path) -> str:
    """Return a file's sha256 in hex digits, from the current `KnownFiles` if there is one.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    return (_CURRENT.get() or KnownFiles()).sha256(path)


def text_of(path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
    """Return a file's text (see `KnownFiles.text`), from the current cache if there is one."""
    return (_CURRENT.get() or KnownFiles()).text(path, keep, limit=limit)


def document_of(text: str, parse: Callable[[], Document]) -> Document:
    """Return the result of `parse` for `text` (see `KnownFiles.document`), from the current cache if there is one."""
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
