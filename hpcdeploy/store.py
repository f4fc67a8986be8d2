"""Store the record of runs and images in one SQLite file, which is available from any folder and after a restart.

It is ``$XDG_STATE_HOME/hpcdeploy/runs.db`` (default ``~/.local/state``, XDG Base Directory Specification). A run is recorded
*before* its submission, so that its id is known in any case and the same submission can be repeated. The file and its folder
are only accessible to their owner. ``PRAGMA user_version`` is the version of its tables; 0 is that of releases that did not
set it, with the same tables.
"""

import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hpcdeploy.checked_values import hints_of, moment, typed
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.folders import state_folder
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.job import Request
from hpcdeploy.private import private_file, private_folder
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store_tables import SCHEMA, VERSION

LOCKED_FOR = 30.0
"""Time in seconds for which another command may lock the record; each normally holds it for a few milliseconds."""


_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""Errors of mkdir(2) if nothing can be written; ENOENT for file systems without new folders, such as /proc."""

_UNWRITABLE_RECORD = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL)


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the record."""
    return state_folder(environment) / "runs.db"


class Store:
    """The record. Every method is one transaction, so that concurrent commands never see a partial change.

    For reading, a record that does not exist and cannot be created is empty.

    Raises:
        ConfigError: By every method: the file cannot be read, is locked for longer than `locked_for` seconds, has a newer
            version, or is something else; a required row is damaged; or a change cannot be written.
    """

    def __init__(self, path: Path, *, locked_for: float = LOCKED_FOR) -> None:
        self._path = path
        self._locked_for = locked_for

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
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

    def _for_writing(self) -> sqlite3.Connection:
        private_folder(self._path.parent)
        private_file(self._path)
        connection = self._connect()
        try:
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
    def _reading(self, what: str, advice: str) -> Iterator[None]:
        """Raise one message for a malformed row; `advice` says what to do."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, zlib.error) as error:
            raise ConfigError(
                f"the record {self._path} is damaged: {what} cannot be read ({error}); others are not affected. {advice}"
            ) from error

    def _status(self, run_id: object, run: object, tasks: object, asked: object) -> RunStatus:
        advice = f"To continue without it, delete that row of the table runs: id {str(run_id)!r}"
        with self._reading(f"the entry of run {str(run_id)!r}", advice):
            return _status(run, tasks, asked)

    def add(self, run: Run, script: str, uploads: Sequence[StagedFile] = (), request: Request | None = None) -> None:
        """Record a run before its submission, with its script, its staged files and the user's request.

        Raises:
            ConfigError: There is a run with that id.
        """
        row = (run.id, run.cluster, run.scheduler, run.submitted, _run_text(run), script.encode("utf-8", "surrogateescape"))
        with self._open() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO runs (id, cluster, scheduler, submitted, run, script) VALUES (?, ?, ?, ?, ?, ?)", row
            )
            if not added.rowcount:
                raise ConfigError(
                    f"the record already has a run {run.id!r}; use another id, or resume it with --resume {run.id}"
                )
            if uploads:
                connection.execute(
                    "INSERT INTO parcels VALUES (?, ?)", (run.id, json.dumps([asdict(staged) for staged in uploads]))
                )
            if request:
                text = json.dumps(asdict(request)).encode()
                connection.execute("INSERT INTO requests VALUES (?, ?)", (run.id, zlib.compress(text)))

    def knows(self, run_id: str) -> bool:
        """Tell whether the record has a run with exactly this id."""
        with self._open() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def submitted(self, run: Run) -> None:
        """Record the job id and the folder of a submitted run."""
        with self._open() as connection:
            connection.execute("UPDATE runs SET run = ? WHERE id = ?", (_run_text(run), run.id))

    def resumed(self, run: Run) -> None:
        """Record that another call continues the run, so that a failure of the first one does not remove it.

        Raises:
            UnknownRunError: The first call has just removed the run.
        """
        with self._open() as connection:
            connection.execute("INSERT OR IGNORE INTO resumed SELECT id FROM runs WHERE id = ?", (run.id,))
            known = connection.execute("SELECT 1 FROM resumed WHERE run = ?", (run.id,)).fetchone()
        if known is None:
            raise _unknown(run.id)

    def forget(self, run: Run) -> None:
        """Remove a run that the scheduler rejected; one that was resumed stays."""
        with self._open() as connection:
            gone = connection.execute("DELETE FROM runs WHERE id = ?1 AND id NOT IN (SELECT run FROM resumed)", (run.id,))
            if gone.rowcount:
                connection.execute("DELETE FROM parcels WHERE run = ?", (run.id,))
                connection.execute("DELETE FROM requests WHERE run = ?", (run.id,))

    def learned(self, *statuses: RunStatus) -> None:
        """Record the current states of runs."""
        rows = [(_tasks_text(one.tasks), one.asked, int(one.ended), one.run.id) for one in statuses]
        with self._open() as connection:
            connection.executemany("UPDATE runs SET tasks = ?, asked = ?, ended = ? WHERE id = ?", rows)

    def script(self, run: Run) -> str:
        """Return the script that submits the run.

        Raises:
            UnknownRunError: There is no such run.
        """
        with self._open() as connection:
            row = connection.execute("SELECT script FROM runs WHERE id = ?", (run.id,)).fetchone()
        if row is None:
            raise _unknown(run.id)
        with self._reading(f"the script of run {run.id}", "Submit the job again, as another run"):
            return _bytes(row[0]).decode("utf-8", "surrogateescape")

    def uploads(self, run: Run) -> tuple[StagedFile, ...]:
        """Return the files that the run's script may request."""
        with self._open() as connection:
            row = connection.execute("SELECT parcels FROM parcels WHERE run = ?", (run.id,)).fetchone()
        with self._reading(f"what run {run.id} uploads", "Submit the job again, as another run"):
            return () if row is None else tuple(typed(StagedFile, fields) for fields in _json(row[0]))

    def request(self, run: Run) -> Request | None:
        """Return the user's request for the run; None if it was not recorded."""
        with self._open() as connection:
            row = connection.execute("SELECT request FROM requests WHERE run = ?", (run.id,)).fetchone()
        with self._reading(f"how run {run.id} was asked for", "Submit its job again"):
            return None if row is None else typed(Request, _json(zlib.decompress(_bytes(row[0])).decode()))

    def latest(self, *, most: int = 0, alive: bool = False, damaged: Callable[[str], None] | None = None) -> list[RunStatus]:
        """Return runs with their last known states, newest first.

        Args:
            most: Maximum number of runs; 0 for all.
            alive: Only return runs that have not ended.
            damaged: Receives messages on damaged entries, which are left out; None to raise an error.
        """
        where = "WHERE ended = 0" if alive else ""
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT id, run, tasks, asked FROM runs {where} ORDER BY submitted DESC, rowid DESC LIMIT ?",  # noqa: S608
                (most or -1,),
            ).fetchall()
        found = []
        for row in rows:
            try:
                found.append(self._status(*row))
            except ConfigError as error:
                if damaged is None:
                    raise
                damaged(str(error))
        return found

    def find(self, names: Sequence[str]) -> list[RunStatus]:
        """Find runs by id or unique prefix; without names, return the newest run.

        Raises:
            UnknownRunError: A name matches no run, or several.
        """
        if not names:
            newest = self.latest(most=1)
            if not newest:
                raise UnknownRunError("the record has no runs yet; submit one with 'hpcdeploy submit'")
            return newest
        return [self._one(name) for name in names]

    def _one(self, name: str) -> RunStatus:
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, run, tasks, asked FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id = ?1 DESC LIMIT 6",
                (name,),
            ).fetchall()
        if not rows:
            raise _unknown(name)
        if rows[0][0] != name and len(rows) > 1:
            several = ", ".join(str(row[0]) for row in rows)
            raise UnknownRunError(f"{name!r} is ambiguous: {several}; use a longer prefix")
        return self._status(*rows[0])

    def cleaned(self, runs: Sequence[Run], *, when: int) -> None:
        """Record that the folders of `runs` were removed from their cluster, at `when` (seconds since 1970)."""
        with self._open() as connection:
            # Not part of the schema, so that older releases can still use the file.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS cleaned (run TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID"
            )
            connection.executemany("INSERT OR REPLACE INTO cleaned VALUES (?, ?)", [(run.id, when) for run in runs])

    def when_cleaned(self) -> dict[str, int]:
        """Return when the folders of runs were removed from their clusters, in seconds since 1970, by the runs' ids."""
        with self._open() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cleaned'").fetchone():
                return {}
            rows = connection.execute("SELECT run, at FROM cleaned").fetchall()
        return {str(run): moment(at) for run, at in rows}

    def built(self, project: Path, image: BuiltImage) -> None:
        """Record the latest build of a project's image (`project`: its folder), also as that of its cluster."""
        row = (str(project.resolve()), image.name, json.dumps(asdict(image)))
        cluster = image.built_on or image.cached_on
        with self._open() as connection:
            # Not part of the schema, so that older releases can still use the file. They recorded the latest builds only.
            connection.execute("CREATE TABLE IF NOT EXISTS builds (image TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.execute("INSERT OR IGNORE INTO builds SELECT image FROM built UNION SELECT image FROM built_on")
            connection.execute("INSERT OR IGNORE INTO builds VALUES (?)", row[2:])
            connection.execute("INSERT OR REPLACE INTO built VALUES (?, ?, ?)", row)
            if cluster:
                connection.execute("INSERT OR REPLACE INTO built_on VALUES (?, ?, ?, ?)", (*row[:2], cluster, row[2]))

    def has_built(self, image: BuiltImage) -> bool:
        """Tell whether the record has a build, here or on a cluster, with the sha256 and inputs of `image`."""
        with self._open() as connection:
            rows = connection.execute("SELECT image FROM built UNION SELECT image FROM built_on").fetchall()
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'builds'").fetchone():
                rows += connection.execute("SELECT image FROM builds").fetchall()
        return any(_is_build_of(row[0], image) for row in rows)

    def latest_build(self, project: Path, name: str) -> BuiltImage | None:
        """Return the latest build of a project's image; None if it was never built from here."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT image FROM built WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        return self._built(name, row)

    def latest_build_on(self, project: Path, name: str, cluster: str) -> BuiltImage | None:
        """Return the latest build of a project's image on one cluster; None if there is none."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT image FROM built_on WHERE project = ? AND name = ? AND cluster = ?",
                (str(project.resolve()), name, cluster),
            ).fetchone()
        return self._built(name, row)

    def _built(self, name: str, row: Sequence[object] | None) -> BuiltImage | None:
        with self._reading(f"the latest build of the image {name!r}", f"Run 'hpcdeploy build {name}' again"):
            return None if row is None else typed(BuiltImage, _json(row[0]))

    def locked(self, project: Path, image: BuiltImage, lock: bytes) -> None:
        """Record the lock file of an image's build, so that later changes can be listed without the image."""
        row = (str(project.resolve()), image.name, image.created, zlib.compress(lock))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?)", row)

    def latest_lock(self, project: Path, name: str) -> tuple[str, bytes] | None:
        """Return the time (RFC 3339) and lock file of the latest build of an image that has one."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT built, lock FROM locks WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        with self._reading(f"the lock file of the image {name!r}", f"Run 'hpcdeploy build {name}' again"):
            return None if row is None else (_text(row[0]), zlib.decompress(_bytes(row[1])))

    def built_from(self, project: Path, image: BuiltImage, inputs: str) -> None:
        """Record the inputs of an image's latest build (`hpcdeploy.flows.freshness`)."""
        row = (str(project.resolve()), image.name, image.sha256, zlib.compress(inputs.encode()))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", row)

    def latest_inputs(self, project: Path, image: BuiltImage) -> str | None:
        """Return the inputs of exactly this build; None if they were not recorded."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT inputs FROM inputs WHERE project = ? AND name = ? AND sha256 = ?",
                (str(project.resolve()), image.name, image.sha256),
            ).fetchone()
        advice = f"Run 'hpcdeploy build {image.name}' again"
        with self._reading(f"what the image {image.name!r} was built from", advice):
            return None if row is None else zlib.decompress(_bytes(row[0])).decode()

    def know_files(self, project: Path, name: str, files: str) -> None:
        """Record the cached checksums of an image's files (`hpcdeploy.known_files.KnownFiles.written`)."""
        row = (str(project.resolve()), name, zlib.compress(files.encode(), 1))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO known_files VALUES (?, ?, ?)", row)

    def known_files(self, project: Path, name: str) -> str:
        """Return the cached checksums of an image's files; empty if there are none, or if they are damaged."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT files FROM known_files WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        try:
            return "" if row is None else zlib.decompress(_bytes(row[0])).decode()
        except (ValueError, TypeError, zlib.error):  # the files are read again
            return ""

    def published(self, image: PublishedImage, *, when: int) -> None:
        """Record that an image was pushed, at `when` (seconds since 1970)."""
        row = (image.sha256, image.repository, image.manifest, image.size, when)
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?)", row)

    def publications(self, sha256: str) -> list[PublishedImage]:
        """Return the registry images with that sha256, the latest push first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT repository, manifest, sha256, size FROM published WHERE sha256 = ? ORDER BY pushed DESC, rowid DESC",
                (sha256,),
            ).fetchall()
        names = ("repository", "manifest", "sha256", "size")
        with self._reading(f"where the image {sha256} was pushed", "Push the image again"):
            return [typed(PublishedImage, dict(zip(names, row, strict=True))) for row in rows]


def _is_unwritable(error: OSError | sqlite3.OperationalError) -> bool:
    """Tell whether an error means that nothing can be written there: no permission, a full or a read-only file system."""
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    # The low byte is the primary result code (https://www.sqlite.org/rescode.html).
    return (error.sqlite_errorcode & 0xFF) in _UNWRITABLE_RECORD


def _is_build_of(text: object, image: BuiltImage) -> bool:
    """Tell whether a row is a build with the sha256 and inputs of `image`; false for a damaged row."""
    if image.sha256 not in str(text):
        return False
    try:
        values = _json(text)
    except (ValueError, TypeError):
        return False
    return isinstance(values, dict) and (values.get("sha256"), values.get("inputs")) == (image.sha256, image.inputs)


def _unknown(name: str) -> UnknownRunError:
    return UnknownRunError(f"the record has no run {name!r}; 'hpcdeploy runs' lists all")


def _run_text(run: Run) -> str:
    return json.dumps(asdict(run))


_NOTHING = vars(TaskStatus(task=-1, state=State.UNKNOWN))


def _tasks_text(tasks: Sequence[TaskStatus]) -> str:
    """Serialize tasks without default values, because an array may have ten thousand tasks."""
    return json.dumps(
        [
            {name: value for name, value in vars(task).items() if name != "state" and value != _NOTHING[name]}
            | {"state": task.state.value}
            for task in tasks
        ]
    )


def _json(text: object) -> Any:  # noqa: ANN401 - `typed` checks it
    """Parse JSON in ASCII, as `json.dumps` writes it; a command may have any bytes, which are half surrogate pairs here.

    Raises:
        ValueError: The text is malformed.
    """
    written = _text(text)
    if not written.isascii():
        raise ValueError("it has bytes that are not ASCII")
    try:
        return json.loads(written)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"found {type(value).__name__}, expected text")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"found {type(value).__name__}, expected bytes")
    return value


_TASK = {
    name: frozenset({int, type(None)} if name == "exit_code" else {hint}) for name, hint in hints_of(TaskStatus).items()
}


def _task(fields: Mapping[str, Any]) -> TaskStatus:
    """Return one task like `typed`, but with the types in `_TASK`, because an array may have ten thousand tasks."""
    state = State(fields["state"])
    for name, value in fields.items():
        if name != "state" and type(value) not in _TASK[name]:
            raise TypeError(f"{name} is {type(value).__name__}")
    return TaskStatus(**{**fields, "state": state})


def _status(run: object, tasks: object, asked: object) -> RunStatus:
    if not isinstance(asked, int):
        raise TypeError(f"found {type(asked).__name__}, expected a time")
    return RunStatus(run=typed(Run, _json(run)), tasks=tuple(map(_task, _json(tasks))), asked=asked)
