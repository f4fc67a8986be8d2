"""Open the SQLite file of the record, create its tables, and check the values that are read from it.

The file and its folder are only accessible to their owner. ``PRAGMA user_version`` is the version of the tables. Early
releases did not set it, so it is 0 in their files; their tables are those of version 1.
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
"""Time in seconds to wait while another command locks the record. A command normally locks it for a few milliseconds."""

_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""Error numbers of mkdir(2) and open(2) if the record cannot be written.

ENOENT is the error of a file system in which no folder can be created, such as /proc.
"""

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
    """The SQLite file of the record. Each with block of `opened` is one transaction.

    Args:
        path: The path of the file. It is created if it does not exist.
        locked_for: Time in seconds to wait while another process locks the file.
    """

    def __init__(self, path: Path, *, locked_for: float = LOCKED_FOR) -> None:
        self._path = path
        self._locked_for = locked_for

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction.

        If the file cannot be written, the block gets a read-only copy in memory. This copy is empty if the file does not
        exist.

        Raises:
            ConfigError: The file cannot be read, is locked for too long, has tables of a newer version, or is not an SQLite
                file; or the block writes, and the file cannot be written.
        """
        why: Exception | None = None
        try:
            try:
                opened = self._for_writing()
            except (OSError, sqlite3.OperationalError) as error:
                if not _is_unwritable(error):
                    raise
                why, opened = error, self._for_reading()
            with closing(opened) as connection, connection:
                # Without this, invalid UTF-8 in one row would raise an error for all rows of a query.
                connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                yield connection
        except (OSError, sqlite3.DatabaseError) as error:
            advice = "expected a writable file: free space there, or set XDG_STATE_HOME to another folder"
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                advice = (
                    f"another process has locked the file for {self._locked_for:g} s; wait for that process or end it. If "
                    "the file system cannot lock files, set XDG_STATE_HOME to a folder on another file system"
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
            # fsync(2) of macOS does not wait for the disk, so a recorded run could be lost in a power failure. This option
            # has no effect on other systems (https://www.sqlite.org/pragma.html#pragma_fullfsync).
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
        """Convert the errors of the block, which reads a row, to one `ConfigError`.

        `what` names the value in the row, and `advice` is what the user can do.
        """
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, zlib.error) as error:
            raise ConfigError(
                f"the record {self._path} is damaged: {what} cannot be read ({error}); other entries are not affected. "
                f"{advice}"
            ) from error


def _is_unwritable(error: OSError | sqlite3.OperationalError) -> bool:
    """Tell whether an error means that the file cannot be written.

    The reasons are missing permissions, a full disk, an exceeded quota, or a read-only file system.
    """
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    # The low byte is the primary result code (https://www.sqlite.org/rescode.html).
    return (error.sqlite_errorcode & 0xFF) in _UNWRITABLE_RECORD


def json_value(text: object) -> Any:  # noqa: ANN401 - `typed` checks it
    """Parse the JSON text of a row, which `json.dumps` wrote in ASCII.

    `hpcdeploy.checked_values.read_json` cannot be used. A command may have bytes that are not UTF-8; these are stored as
    half surrogate pairs, which `read_json` rejects.

    Raises:
        TypeError: The value is not text.
        ValueError: The text is not JSON, is not ASCII, or is nested too deeply.
    """
    written = text_value(text)
    if not written.isascii():
        raise ValueError("the text has characters that are not ASCII")
    try:
        return json.loads(written)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


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
