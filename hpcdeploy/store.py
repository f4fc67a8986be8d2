"""The record of runs and images: one SQLite file, so that a run is known from any folder, and after this machine was off.

It lies in ``$XDG_STATE_HOME/hpcdeploy/runs.db`` (default ``~/.local/state``, XDG Base Directory Specification). A run is
written here *before* it is submitted: whatever happens then, its id is known and the same submission can be made again.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.folders import state_folder
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.job import Array, Request
from hpcdeploy.parameters import Parameters
from hpcdeploy.parcel import Parcel
from hpcdeploy.run import Run, RunStatus, State, TaskStatus

_SCHEMA = """
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


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Say where the record lies."""
    return state_folder(environment) / "runs.db"


class Store:
    """The record; every method is one transaction, so that two commands at once never see half of one.

    Each raises `ConfigError` where the file cannot be read or written, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
                connection.executescript(_SCHEMA)
                yield connection
        except (OSError, sqlite3.DatabaseError) as error:
            raise ConfigError(
                f"the record {self._path} cannot be used: {error}; expected a file that can be written to: make room there, "
                "or set XDG_STATE_HOME to another folder"
            ) from error

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
        return bytes(row[0]).decode("utf-8", "surrogateescape")

    def parcels(self, run: Run) -> tuple[Parcel, ...]:
        """Return the files that the run's script may ask for."""
        with self._open() as connection:
            row = connection.execute("SELECT parcels FROM parcels WHERE run = ?", (run.id,)).fetchone()
        return () if row is None else tuple(Parcel(**fields) for fields in json.loads(row[0]))

    def request(self, run: Run) -> Request | None:
        """Return how a person asked for the run, or None where that was not noted."""
        with self._open() as connection:
            row = connection.execute("SELECT request FROM requests WHERE run = ?", (run.id,)).fetchone()
        if row is None:
            return None
        fields = json.loads(zlib.decompress(row[0]))
        return Request(**{**fields, "array": _array(fields["array"])})

    def latest(self, *, most: int = 0, alive: bool = False) -> list[RunStatus]:
        """List runs with what was last known of each, the newest first; `most` of them (0: all), or only those not ended."""
        where = "WHERE ended = 0" if alive else ""
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT run, tasks, asked FROM runs {where} ORDER BY submitted DESC, rowid DESC LIMIT ?",  # noqa: S608
                (most or -1,),
            ).fetchall()
        return [_status(*row) for row in rows]

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
                "SELECT run, tasks, asked FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id = ?1 DESC LIMIT 6",
                (name,),
            ).fetchall()
        found = [_status(*row) for row in rows]
        if not found:
            raise _unknown(name)
        if found[0].run.id != name and len(found) > 1:
            several = ", ".join(status.run.id for status in found)
            raise UnknownRunError(f"{name!r} is ambiguous: {several}; use a longer prefix")
        return found[0]

    def built(self, project: Path, image: BuiltImage) -> None:
        """Note the latest build of one of a project's images (`project`: its folder), also as that of its cluster."""
        row = (str(project.resolve()), image.name, json.dumps(asdict(image)))
        cluster = image.built_on or image.cached_on
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO built VALUES (?, ?, ?)", row)
            if cluster:
                connection.execute("INSERT OR REPLACE INTO built_on VALUES (?, ?, ?, ?)", (*row[:2], cluster, row[2]))

    def latest_build(self, project: Path, name: str) -> BuiltImage | None:
        """Return the latest build of a project's image, or None where it was never built from here."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT image FROM built WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        return None if row is None else BuiltImage(**json.loads(row[0]))

    def latest_build_on(self, project: Path, name: str, cluster: str) -> BuiltImage | None:
        """Return the latest build of a project's image on one cluster; None where there was none."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT image FROM built_on WHERE project = ? AND name = ? AND cluster = ?",
                (str(project.resolve()), name, cluster),
            ).fetchone()
        return None if row is None else BuiltImage(**json.loads(row[0]))

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
        return None if row is None else (row[0], zlib.decompress(row[1]))

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
        return None if row is None else zlib.decompress(row[0]).decode()

    def know_files(self, project: Path, name: str, files: str) -> None:
        """Note what is known of the files that an image is made from (`hpcdeploy.known_files.KnownFiles.written`)."""
        row = (str(project.resolve()), name, zlib.compress(files.encode(), 1))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO known_files VALUES (?, ?, ?)", row)

    def known_files(self, project: Path, name: str) -> str:
        """Return what was last known of the files that an image is made from; empty for nothing."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT files FROM known_files WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        return "" if row is None else zlib.decompress(row[0]).decode()

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
        return [PublishedImage(repository=row[0], manifest=row[1], sha256=row[2], size=row[3]) for row in rows]


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


def _array(fields: dict[str, Any] | None) -> Array | None:
    if fields is None:
        return None
    table = fields["parameters"]
    parameters = Parameters(names=tuple(table["names"]), rows=tuple(map(tuple, table["rows"]))) if table else None
    return Array(**{**fields, "parameters": parameters, "numbers": tuple(fields["numbers"])})


def _status(run: str, tasks: str, asked: int) -> RunStatus:
    fields = json.loads(run)
    fields["command"] = tuple(fields["command"])
    fields["outputs"] = tuple(fields.get("outputs", ()))
    known = tuple(TaskStatus(**{**task, "state": State(task["state"])}) for task in json.loads(tasks))
    return RunStatus(run=Run(**fields), tasks=known, asked=asked)
