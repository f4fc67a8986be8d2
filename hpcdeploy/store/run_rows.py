"""Record runs: their scripts, uploads and requests before the submission, then their jobs and their last known states."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hpcdeploy.checked_values import hints_of, typed
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.job import Request
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store.record_file import RecordFile, bytes_value, json_value


class RunRows(RecordFile):
    """The runs in the record. Every method is one transaction."""

    def add(self, run: Run, script: str, uploads: Sequence[StagedFile] = (), request: Request | None = None) -> None:
        """Record a run before its submission, with its script, its staged files and the user's request.

        Raises:
            ConfigError: There is a run with that id.
        """
        row = (run.id, run.cluster, run.scheduler, run.submitted, _run_text(run), script.encode("utf-8", "surrogateescape"))
        with self.opened() as connection:
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
        with self.opened() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def submitted(self, run: Run) -> None:
        """Record the job id and the folder of a submitted run."""
        with self.opened() as connection:
            connection.execute("UPDATE runs SET run = ? WHERE id = ?", (_run_text(run), run.id))

    def resumed(self, run: Run) -> None:
        """Record that another call continues the run, so that a failure of the first one does not remove it.

        Raises:
            UnknownRunError: The first call has just removed the run.
        """
        with self.opened() as connection:
            connection.execute("INSERT OR IGNORE INTO resumed SELECT id FROM runs WHERE id = ?", (run.id,))
            known = connection.execute("SELECT 1 FROM resumed WHERE run = ?", (run.id,)).fetchone()
        if known is None:
            raise _unknown(run.id)

    def forget(self, run: Run) -> None:
        """Remove a run that the scheduler rejected; one that was resumed stays."""
        with self.opened() as connection:
            gone = connection.execute("DELETE FROM runs WHERE id = ?1 AND id NOT IN (SELECT run FROM resumed)", (run.id,))
            if gone.rowcount:
                connection.execute("DELETE FROM parcels WHERE run = ?", (run.id,))
                connection.execute("DELETE FROM requests WHERE run = ?", (run.id,))

    def learned(self, *statuses: RunStatus) -> None:
        """Record the current states of runs."""
        rows = [(_tasks_text(one.tasks), one.asked, int(one.ended), one.run.id) for one in statuses]
        with self.opened() as connection:
            connection.executemany("UPDATE runs SET tasks = ?, asked = ?, ended = ? WHERE id = ?", rows)

    def script(self, run: Run) -> str:
        """Return the script that submits the run.

        Raises:
            UnknownRunError: There is no such run.
        """
        with self.opened() as connection:
            row = connection.execute("SELECT script FROM runs WHERE id = ?", (run.id,)).fetchone()
        if row is None:
            raise _unknown(run.id)
        with self.reading(f"the script of run {run.id}", "Submit the job again, as another run"):
            return bytes_value(row[0]).decode("utf-8", "surrogateescape")

    def uploads(self, run: Run) -> tuple[StagedFile, ...]:
        """Return the files that the run's script may request."""
        with self.opened() as connection:
            row = connection.execute("SELECT parcels FROM parcels WHERE run = ?", (run.id,)).fetchone()
        with self.reading(f"what run {run.id} uploads", "Submit the job again, as another run"):
            return () if row is None else tuple(typed(StagedFile, fields) for fields in json_value(row[0]))

    def request(self, run: Run) -> Request | None:
        """Return the user's request for the run; None if it was not recorded."""
        with self.opened() as connection:
            row = connection.execute("SELECT request FROM requests WHERE run = ?", (run.id,)).fetchone()
        with self.reading(f"how run {run.id} was asked for", "Submit its job again"):
            return None if row is None else typed(Request, json_value(zlib.decompress(bytes_value(row[0])).decode()))

    def latest(self, *, most: int = 0, alive: bool = False, damaged: Callable[[str], None] | None = None) -> list[RunStatus]:
        """Return runs with their last known states, newest first.

        Args:
            most: Maximum number of runs; 0 for all.
            alive: Only return runs that have not ended.
            damaged: Receives messages on damaged entries, which are left out; None to raise an error.
        """
        where = "WHERE ended = 0" if alive else ""
        with self.opened() as connection:
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
        with self.opened() as connection:
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

    def _status(self, run_id: object, run: object, tasks: object, asked: object) -> RunStatus:
        advice = f"To continue without it, delete that row of the table runs: id {str(run_id)!r}"
        with self.reading(f"the entry of run {str(run_id)!r}", advice):
            return _status(run, tasks, asked)


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
    return RunStatus(run=typed(Run, json_value(run)), tasks=tuple(map(_task, json_value(tasks))), asked=asked)
