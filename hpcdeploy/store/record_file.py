"""Open the SQLite file of the record, create its tables, and check the values that it returns.

The file and its folder are only accessible to their owner. ``PRAGMA user_version`` is the version of its tables; 0 is that
of releases that did not set it, with the same tables.
"""

import errno
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hpcdeploy.errors import ConfigError
from hpcdeploy.private import private_file, private_folder
from hpcdeploy.store.projects import add_projects

LOCKED_FOR = 30.0
"""Time in seconds for which another command may lock the record; each normally holds it for a few milliseconds."""

_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""Errors of mkdir(2) if nothing can be written; ENOENT for file systems without new folders, such as /proc."""

_UNWRITABLE_RECORD = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL)

VERSION = 1
"""Version of the tables (``PRAGMA user_version``). It increases with a change that an older hpcdeploy cannot handle."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, scheduler TEXT NOT NULL, submitted INTEGER NOT NULL,
    run TEXT NOT NULL, script BLOB NOT NULL, tasks TEXT NOT NULL DEFAULT '[]', asked INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (submitted);
CREATE TABLE IF NOT EXISTS parcels (
    run TEXT PRIMARY KEY, parcels TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS resumed (
    run TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS requests (
    run TEXT PRIMARY KEY, request BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS built (
    project TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS built_on (
    project TEXT NOT NULL, name TEXT NOT NULL, cluster TEXT NOT NULL, image TEXT NOT NULL,
    PRIMARY KEY (project, name, cluster)
);
CREATE TABLE IF NOT EXISTS locks (
    project TEXT NOT NULL, name TEXT NOT NULL, built TEXT NOT NULL, lock BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS inputs (
    project TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, inputs BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS known_files (
    project TEXT NOT NULL, name TEXT NOT NULL, files BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS published (
    sha256 TEXT NOT NULL, repository TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, pushed INTEGER NOT NULL,
    PRIMARY KEY (sha256, repository)
);
"""


class RecordFile:
    """The file of the record. Each block that it is `opened` for is one transaction.

    For reading, a record that does not exist and cannot be created is empty.

    Raises:
        ConfigError: By every method: the file cannot be read, is locked for longer than `locked_for` seconds, has a newer
            version, or is something else; a required row is damaged; or a change cannot be written.
    """

    def __init__(self, path: Path, *, locked_for: float = LOCKED_FOR) -> None:
        self._path = path
        self._locked_for = locked_for

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction; a copy in memory if it cannot be written."""
        why: Exception | None = None
        try:
            try:
                opened = self._for_writing()
            except (OSError, sqlite3.OperationalError) as error:
                if not _is_unwritable(error):
                    raise
                why, opened = error, self._for_reading()
            with closing(opened) as connection, connection:
                # invalid UTF-8 must only affect one row, not the whole result
                connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                yield connection
        except (OSError, sqlite3.DatabaseError) as error:
            advice = "expected a writable file: free space there, or set XDG_STATE_HOME to another folder"
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                advice = (
                    f"another process has held it for {self._locked_for:g} s; wait for it or end it. If the file "
                    "system cannot lock files, set XDG_STATE_HOME to a folder on another one"
                )
            raise ConfigError(f"the record {self._path} cannot be used: {why or error}; {advice}") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._locked_for)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(
                f"the record {self._path} was written by a newer hpcdeploy: expected tables of version {VERSION}, "
                f"found {version}; install a newer hpcdeploy, or set XDG_STATE_HOME to another folder"
            )
        if version < VERSION:
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        add_projects(connection)

    def _for_writing(self) -> sqlite3.Connection:
        private_folder(self._path.parent)
        private_file(self._path)
        connection = self._connect()
        try:
            # So that a run survives a loss of power on macOS, whose fsync(2) does not wait for the disk; without effect
            # elsewhere (https://www.sqlite.org/pragma.html#pragma_fullfsync).
            connection.execute("PRAGMA fullfsync = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _for_reading(self) -> sqlite3.Connection:
        """Return a read-only copy in memory of the existing record, or an empty one."""
        copy = sqlite3.connect(":memory:")
        try:
            if self._path.exists():
                with closing(sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True)) as record:
                    record.backup(copy)
            self._migrate(copy)
            copy.execute("PRAGMA query_only = ON")
        except BaseException:
            copy.close()
            raise
        return copy

    @contextmanager
    def reading(self, what: str, advice: str) -> Iterator[None]:
        """Raise one message for a malformed row; `advice` says what to do."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, zlib.error) as error:
            raise ConfigError(
                f"the record {self._path} is damaged: {what} cannot be read ({error}); others are not affected. {advice}"
            ) from error


def _is_unwritable(error: OSError | sqlite3.OperationalError) -> bool:
    """Tell whether an error means that nothing can be written there: no permission, a full or a read-only file system."""
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    # The low byte is the primary result code (https://www.sqlite.org/rescode.html).
    return (error.sqlite_errorcode & 0xFF) in _UNWRITABLE_RECORD


def json_value(text: object) -> Any:  # noqa: ANN401 - `typed` checks it
    """Parse JSON in ASCII, as `json.dumps` writes it; a command may have any bytes, which are half surrogate pairs here.

    Raises:
        ValueError: The text is malformed.
    """
    written = text_value(text)
    if not written.isascii():
        raise ValueError("it has bytes that are not ASCII")
    try:
        return json.loads(written)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def text_value(value: object) -> str:
    """Return a text value of a row; raise `TypeError` if it has another type."""
    if not isinstance(value, str):
        raise TypeError(f"found {type(value).__name__}, expected text")
    return value


def bytes_value(value: object) -> bytes:
    """Return a binary value of a row; raise `TypeError` if it has another type."""
    if not isinstance(value, bytes):
        raise TypeError(f"found {type(value).__name__}, expected bytes")
    return value
