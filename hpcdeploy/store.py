"""The record of runs and images: one SQLite file, so that a run is known from any folder, and after this machine was off.

It lies in ``$XDG_STATE_HOME/hpcdeploy/runs.db`` (default ``~/.local/state``, XDG Base Directory Specification). A run is
written here *before* it is submitted: whatever happens then, its id is known and the same submission can be made again.
The file, and the folder that it lies in, are for their owner alone. ``PRAGMA user_version`` tells the version of its tables;
0 is that of releases that did not write one, whose tables are the same.
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

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.folders import state_folder
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.job import Request
from hpcdeploy.parcel import Parcel
from hpcdeploy.private import private_file, private_folder
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.tables import SCHEMA, VERSION
from hpcdeploy.typed import hints_of, typed

LOCKED_FOR = 30.0
"""Seconds for which another command may hold the record: each holds it for a few milliseconds."""


_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""What mkdir(2) says where nothing can be written; ENOENT where a file system takes no folders at all, as /proc."""

_UNWRITABLE_RECORD = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL)


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Say where the record lies."""
    return state_folder(environment) / "runs.db"


class Store:
    """The record; every method is one transaction, so that two commands at once never see half of one.

    Each raises `ConfigError` where the file cannot be read, is locked for longer than `locked_for` seconds, was written by a
    newer version, or is something else; where the row that it needs is damaged; and those that note something where it
    cannot be written. A record that is not there yet, and cannot be made, is an empty one to those that read.
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
                # What is no UTF-8 makes one row unreadable, and not the whole answer.
                connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                yield connection
        except (OSError, sqlite3.DatabaseError) as error:
            advice = "expected a file that can be written to: make room there, or set XDG_STATE_HOME to another folder"
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                advice = (
                    f"another process has held it for {self._locked_for:g} s; wait for that one, or end it. Where the file "
                    "system cannot lock files, set XDG_STATE_HOME to a folder on another one"
                )
            raise ConfigError(f"the record {self._path} cannot be used: {why or error}; {advice}") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._locked_for)

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(
                f"the record {self._path} is of a newer version of hpcdeploy: expected tables of version {VERSION}, "
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
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _for_reading(self) -> sqlite3.Connection:
        """Return a copy in memory of what there is, nothing included, which takes no changes."""
        copy = sqlite3.connect(":memory:")
        try:
            if self._path.exists():
                with closing(sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True)) as record:
                    record.backup(copy)
            self._bring_up_to_date(copy)
            copy.execute("PRAGMA query_only = ON")
        except BaseException:
            copy.close()
            raise
        return copy

    @contextmanager
    def _reading(self, what: str, advice: str) -> Iterator[None]:
        """Make one message of a row that holds something else than what this class writes; `advice` says what to do."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, zlib.error) as error:
            raise ConfigError(
                f"the record {self._path} is damaged: {what} cannot be read ({error}); others are not affected. {advice}"
            ) from error

    def _status(self, run_id: object, run: object, tasks: object, asked: object) -> RunStatus:
        advice = f"To go on without it, delete that row of the table runs: id {str(run_id)!r}"
        with self._reading(f"the entry of run {str(run_id)!r}", advice):
            return _status(run, tasks, asked)

    def add(self, run: Run, script: str, parcels: Sequence[Parcel] = (), request: Request | None = None) -> None:
        """Note a run that is about to be submitted, with the very script that submits it, and what that may ask for.

        `request` is how a person asked for the run. Raises `ConfigError` where there is a run of that id.
        """
        row = (run.id, run.cluster, run.scheduler, run.submitted, _run_text(run), script.encode("utf-8", "surrogateescape"))
        with self._open() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO runs (id, cluster, scheduler, submitted, run, script) VALUES (?, ?, ?, ?, ?, ?)", row
            )
            if not added.rowcount:
                raise ConfigError(
                    f"a run {run.id!r} is on record already; choose another id, or go on with it by --resume {run.id}"
                )
            if parcels:
                connection.execute(
                    "INSERT INTO parcels VALUES (?, ?)", (run.id, json.dumps([asdict(parcel) for parcel in parcels]))
                )
            if request:
                text = json.dumps(asdict(request)).encode()
                connection.execute("INSERT INTO requests VALUES (?, ?)", (run.id, zlib.compress(text)))

    def knows(self, run_id: str) -> bool:
        """Tell whether a run of that very id is on record."""
        with self._open() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def submitted(self, run: Run) -> None:
        """Note the scheduler's number and the folder of a run that was submitted."""
        with self._open() as connection:
            connection.execute("UPDATE runs SET run = ? WHERE id = ?", (_run_text(run), run.id))

    def resumed(self, run: Run) -> None:
        """Note that another call goes on with the run: the first one's failure is no longer the last word on it.

        Raises `UnknownRunError` where the first one has just forgotten the run.
        """
        with self._open() as connection:
            connection.execute("INSERT OR IGNORE INTO resumed SELECT id FROM runs WHERE id = ?", (run.id,))
            known = connection.execute("SELECT 1 FROM resumed WHERE run = ?", (run.id,)).fetchone()
        if known is None:
            raise _unknown(run.id)

    def forget(self, run: Run) -> None:
        """Take out a run that the scheduler plainly refused: there is nothing to follow. One that was resumed stays."""
        with self._open() as connection:
            gone = connection.execute("DELETE FROM runs WHERE id = ?1 AND id NOT IN (SELECT run FROM resumed)", (run.id,))
            if gone.rowcount:
                connection.execute("DELETE FROM parcels WHERE run = ?", (run.id,))
                connection.execute("DELETE FROM requests WHERE run = ?", (run.id,))

    def learned(self, *statuses: RunStatus) -> None:
        """Note what is known of runs now."""
        rows = [(_tasks_text(one.tasks), one.asked, int(one.ended), one.run.id) for one in statuses]
        with self._open() as connection:
            connection.executemany("UPDATE runs SET tasks = ?, asked = ?, ended = ? WHERE id = ?", rows)

    def script(self, run: Run) -> str:
        """Return the script that submits the run."""
        with self._open() as connection:
            row = connection.execute("SELECT script FROM runs WHERE id = ?", (run.id,)).fetchone()
        if row is None:
            raise _unknown(run.id)
        with self._reading(f"the script of run {run.id}", "Submit the job again, as another run"):
            return _bytes(row[0]).decode("utf-8", "surrogateescape")

    def parcels(self, run: Run) -> tuple[Parcel, ...]:
        """Return the files that the run's script may ask for."""
        with self._open() as connection:
            row = connection.execute("SELECT parcels FROM parcels WHERE run = ?", (run.id,)).fetchone()
        with self._reading(f"what run {run.id} uploads", "Submit the job again, as another run"):
            return () if row is None else tuple(typed(Parcel, fields) for fields in _json(row[0]))

    def request(self, run: Run) -> Request | None:
        """Return how a person asked for the run, or None where that was not noted."""
        with self._open() as connection:
            row = connection.execute("SELECT request FROM requests WHERE run = ?", (run.id,)).fetchone()
        with self._reading(f"how run {run.id} was asked for", "Submit its job again"):
            return None if row is None else typed(Request, _json(zlib.decompress(_bytes(row[0])).decode()))

    def latest(self, *, most: int = 0, alive: bool = False, damaged: Callable[[str], None] | None = None) -> list[RunStatus]:
        """List runs with what was last known of each, the newest first; `most` of them (0: all), or only those not ended.

        An entry that is damaged is left out and reported to `damaged`; without that, it is an error.
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
        """Look up runs by id, or by the beginning of one that only one run has; no name means the newest run.

        Raises `UnknownRunError` where nothing or more than one run answers to a name.
        """
        if not names:
            newest = self.latest(most=1)
            if not newest:
                raise UnknownRunError("no run is on record yet; 'hpcdeploy submit' makes one")
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
            raise UnknownRunError(f"{name!r} could be any of {several}; write more of the one that you mean")
        return self._status(*rows[0])

    def built(self, project: Path, image: BuiltImage) -> None:
        """Note the latest build of one of a project's images (`project`: its folder), also as that of its cluster."""
        row = (str(project.resolve()), image.name, json.dumps(asdict(image)))
        cluster = image.built_on or image.cached_on
        with self._open() as connection:
            # Not part of the schema: older releases work with the file all the same. They kept the latest builds only.
            connection.execute("CREATE TABLE IF NOT EXISTS builds (image TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.execute("INSERT OR IGNORE INTO builds SELECT image FROM built UNION SELECT image FROM built_on")
            connection.execute("INSERT OR IGNORE INTO builds VALUES (?)", row[2:])
            connection.execute("INSERT OR REPLACE INTO built VALUES (?, ?, ?)", row)
            if cluster:
                connection.execute("INSERT OR REPLACE INTO built_on VALUES (?, ?, ?, ?)", (*row[:2], cluster, row[2]))

    def has_built(self, image: BuiltImage) -> bool:
        """Tell whether a file of that sha256 is on record as a build, here or on a cluster, from the same inputs."""
        with self._open() as connection:
            rows = connection.execute("SELECT image FROM built UNION SELECT image FROM built_on").fetchall()
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'builds'").fetchone():
                rows += connection.execute("SELECT image FROM builds").fetchall()
        return any(_is_build_of(row[0], image) for row in rows)

    def latest_build(self, project: Path, name: str) -> BuiltImage | None:
        """Return the latest build of a project's image, or None where it was never built from here."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT image FROM built WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        return self._built(name, row)

    def latest_build_on(self, project: Path, name: str, cluster: str) -> BuiltImage | None:
        """Return the latest build of a project's image on one cluster; None where there was none."""
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
        """Note the lock file that an image was built from: what changed since then can be told without the image."""
        row = (str(project.resolve()), image.name, image.created, zlib.compress(lock))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?)", row)

    def latest_lock(self, project: Path, name: str) -> tuple[str, bytes] | None:
        """Return when the latest build of an image with a lock file was (an RFC 3339 time), and that file's content."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT built, lock FROM locks WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        with self._reading(f"the lock file of the image {name!r}", f"Run 'hpcdeploy build {name}' again"):
            return None if row is None else (_text(row[0]), zlib.decompress(_bytes(row[1])))

    def built_from(self, project: Path, image: BuiltImage, inputs: str) -> None:
        """Note what the latest build of an image was made from (`hpcdeploy.flows.build_inputs`)."""
        row = (str(project.resolve()), image.name, image.sha256, zlib.compress(inputs.encode()))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", row)

    def latest_inputs(self, project: Path, image: BuiltImage) -> str | None:
        """Return what that very build was made from; None where it was not noted."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT inputs FROM inputs WHERE project = ? AND name = ? AND sha256 = ?",
                (str(project.resolve()), image.name, image.sha256),
            ).fetchone()
        advice = f"Run 'hpcdeploy build {image.name}' again"
        with self._reading(f"what the image {image.name!r} was built from", advice):
            return None if row is None else zlib.decompress(_bytes(row[0])).decode()

    def know_files(self, project: Path, name: str, files: str) -> None:
        """Note what is known of the files that an image is made from (`hpcdeploy.known_files.KnownFiles.written`)."""
        row = (str(project.resolve()), name, zlib.compress(files.encode(), 1))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO known_files VALUES (?, ?, ?)", row)

    def known_files(self, project: Path, name: str) -> str:
        """Return what was last known of the files that an image is made from; empty where that is nothing, or damaged."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT files FROM known_files WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        try:
            return "" if row is None else zlib.decompress(_bytes(row[0])).decode()
        except (ValueError, TypeError, zlib.error):  # the files are read again
            return ""

    def published(self, image: PublishedImage, *, when: int) -> None:
        """Note that an image was pushed, at `when` (seconds since 1970)."""
        row = (image.sha256, image.repository, image.manifest, image.size, when)
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?)", row)

    def publications(self, sha256: str) -> list[PublishedImage]:
        """List where the image of that sha256 was pushed, the latest push first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT repository, manifest, sha256, size FROM published WHERE sha256 = ? ORDER BY pushed DESC, rowid DESC",
                (sha256,),
            ).fetchall()
        names = ("repository", "manifest", "sha256", "size")
        with self._reading(f"where the image {sha256} was pushed", "Push the image again"):
            return [typed(PublishedImage, dict(zip(names, row, strict=True))) for row in rows]


def _is_unwritable(error: OSError | sqlite3.OperationalError) -> bool:
    """Tell whether an error means that nothing can be written there: no right to, a full or a read-only file system."""
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    # The low byte is the primary result code (https://www.sqlite.org/rescode.html).
    return (error.sqlite_errorcode & 0xFF) in _UNWRITABLE_RECORD


def _is_build_of(text: object, image: BuiltImage) -> bool:
    """Tell whether a row is that of a build with the sha256 and inputs of `image`; a damaged one is not."""
    if image.sha256 not in str(text):
        return False
    try:
        values = _json(text)
    except (ValueError, TypeError):
        return False
    return isinstance(values, dict) and (values.get("sha256"), values.get("inputs")) == (image.sha256, image.inputs)


def _unknown(name: str) -> UnknownRunError:
    return UnknownRunError(f"no run {name!r} is on record; 'hpcdeploy runs' lists those that are")


def _run_text(run: Run) -> str:
    return json.dumps(asdict(run))


_NOTHING = vars(TaskStatus(task=-1, state=State.UNKNOWN))


def _tasks_text(tasks: Sequence[TaskStatus]) -> str:
    """Write tasks without what is as it is where nothing is known: an array may have ten thousand of them."""
    return json.dumps(
        [
            {name: value for name, value in vars(task).items() if name != "state" and value != _NOTHING[name]}
            | {"state": task.state.value}
            for task in tasks
        ]
    )


def _json(text: object) -> Any:  # noqa: ANN401 - `typed` checks it
    """Read JSON that `json.dumps` wrote, in ASCII; raises `ValueError` for all else.

    Words of a command may hold any bytes, which are half pairs of surrogates here.
    """
    written = _text(text)
    if not written.isascii():
        raise ValueError("it holds bytes that are not ASCII")
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
    """Return one task, as `typed` does: it is told in `_TASK` what fits, since an array may have ten thousand tasks."""
    state = State(fields["state"])
    for name, value in fields.items():
        if name != "state" and type(value) not in _TASK[name]:
            raise TypeError(f"{name} is {type(value).__name__}")
    return TaskStatus(**{**fields, "state": state})


def _status(run: object, tasks: object, asked: object) -> RunStatus:
    if not isinstance(asked, int):
        raise TypeError(f"found {type(asked).__name__}, expected a time")
    return RunStatus(run=typed(Run, _json(run)), tasks=tuple(map(_task, _json(tasks))), asked=asked)
