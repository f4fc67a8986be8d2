"""Content of files, remembered by what the file system says of them: an unchanged file is not read a second time.

A file is known by its `Signature`. Git's index trusts the same values and has the same limit ("racy git", Git's
``Documentation/technical/racy-git.txt``): a file that is changed twice within one tick of the file system's clock, to the
same size, has the same signature. So a signature is trusted only if the file had been left alone for `GRAIN_NS` when it was
read.
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

from hpcdeploy.json_text import read_json
from hpcdeploy.regular_file import LARGEST_LOCK, check_regular, read_regular
from hpcdeploy.whole_file import sha256_of

Signature = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, time of the last change of the content and of the inode (``mtime``, ``ctime``) in ns."""

GRAIN_NS = 2_000_000_000
"""Nanoseconds. The coarsest clock in use is that of FAT, 2 s; ext4, xfs and NFS take the kernel's tick, 1 to 10 ms."""

LARGEST_TEXT = 20_000_000
"""Bytes. A longer text is read each time; only its sha256 is remembered."""

Document = Mapping[str, object]


@dataclass(frozen=True)
class Known:
    """A file's sha256 in hex digits, and its text if it was read as text."""

    sha256: str
    text: str | None = None


class KnownFiles:
    """The files that one command knows: those remembered by earlier commands, by signature, and those it reads.

    Args:
        text: What an earlier command remembered (`written`); a text that cannot be read is as good as none.
        now: Returns the time in ns since 1970.
    """

    def __init__(self, text: str = "", *, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._files, self._documents = _read(text)
        self._used: dict[Signature, Known] = {}
        self._used_documents: dict[str, Document] = {}
        self.read: dict[Path, str] = {}
        """The sha256 of each file that was asked for."""
        self.learned = False
        """Whether something was read that `written` holds and the given text did not."""

    def sha256(self, path: Path) -> str:
        """Return a file's sha256 in hex digits; the file is read only if it is not known.

        Raises OSError, also for what is no regular file.
        """
        return self._look(path, None, keep=lambda _text: True).sha256

    def text(self, path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
        """Return a file's text (UTF-8, line ends as they are); the file is read only if it is not known.

        A text that `keep` rejects is not remembered. Raises OSError, also for what is no regular file or has more than
        `limit` bytes, and UnicodeDecodeError.
        """
        return self._look(path, limit, keep=keep).text or ""

    def document(self, text: str, parse: Callable[[], Document]) -> Document:
        """Return what `parse` makes of `text`, from memory if the same text was parsed before.

        It is remembered only if JSON gives back the same value. What `parse` raises is passed on.
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
        """Return as JSON what was used of this memory, and what was added to it."""
        files = [[*signature, known.sha256, known.text] for signature, known in self._used.items()]
        return json.dumps({"files": files, "documents": self._used_documents})

    def _look(self, path: Path, limit: int | None, *, keep: Callable[[str], bool]) -> Known:
        """Return what a file holds: its text too if there is a `limit` for it."""
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
    """Return what a file is known by; every change of its content changes it, given `is_settled`."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(known: Signature, now_ns: int) -> bool:
    """Tell whether the last change was `GRAIN_NS` before `now_ns` (since 1970), so that a later change will be seen.

    A time in the future is never settled: the clock that stamped it is not ours.
    """
    return max(known[3:]) <= now_ns - GRAIN_NS


_CURRENT: ContextVar[KnownFiles | None] = ContextVar("known_files", default=None)


@contextmanager
def remembering(known: KnownFiles) -> Iterator[KnownFiles]:
    """Let `digest_of`, `text_of` and `document_of` use `known`, and add to it."""
    token = _CURRENT.set(known)
    try:
        yield known
    finally:
        _CURRENT.reset(token)


def digest_of(path: Path) -> str:
    """Return a file's sha256 in hex digits, from the `KnownFiles` in use if there are any. Raises OSError."""
    return (_CURRENT.get() or KnownFiles()).sha256(path)


def text_of(path: Path, keep: Callable[[str], bool] = lambda _text: True, *, limit: int = LARGEST_LOCK) -> str:
    """Return a file's text as `KnownFiles.text` does, from those in use if there are any."""
    return (_CURRENT.get() or KnownFiles()).text(path, keep, limit=limit)


def document_of(text: str, parse: Callable[[], Document]) -> Document:
    """Return what `parse` makes of `text` as `KnownFiles.document` does, from those in use if there are any."""
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
