"""Record runs: before the submission the script, uploads and request; afterwards the job id and the last known states."""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hpcdeploy.checked_values import hints_of, moment, typed
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.job import Request
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store.projects import move_project
from hpcdeploy.store.record_file import RecordFile, bytes_value, json_value, text_value


class RunRows(RecordFile):
    """The methods of the record for runs. Every method is one transaction."""

    def add(self, run: Run, script: str, uploads: Sequence[StagedFile] = (), request: Request | None = None) -> None:
        """Record a run before its submission.

        Args:
            run: The run, without a job id.
            script: The script that submits the run on the login node.
            uploads: The files that the script may request.
            request: The user's settings and options; None if the run was not submitted from a project.

        Raises:
            ConfigError: The record already has a run with this id.
        """
        project = run.project or (os.path.realpath(request.project) if request else "")
        content = (_run_text(run), script.encode("utf-8", "surrogateescape"), os.fsencode(project))
        row = (run.id, run.cluster, run.scheduler, run.submitted, *content)
        with self.opened() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO runs (id, cluster, scheduler, submitted, run, script, project)"
                " VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT))",
                row,
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
        """Record that a later command continues the submission of `run`.

        The command that started the submission may still be running. If it fails, `forget` then does not remove the run.

        Raises:
            UnknownRunError: The record no longer has the run, because its first command removed it.
        """
        with self.opened() as connection:
            connection.execute("INSERT OR IGNORE INTO resumed SELECT id FROM runs WHERE id = ?", (run.id,))
            known = connection.execute("SELECT 1 FROM resumed WHERE run = ?", (run.id,)).fetchone()
        if known is None:
            raise _unknown(run.id)

    def forget(self, run: Run) -> None:
        """Remove a run that the scheduler rejected, unless a later command continues its submission (`resumed`)."""
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
        with self.reading(f"the list of uploads of run {run.id}", "Submit the job again, as another run"):
            return () if row is None else tuple(typed(StagedFile, fields) for fields in json_value(row[0]))

    def request(self, run: Run) -> Request | None:
        """Return the user's request for the run; None if the record has no request for it."""
        with self.opened() as connection:
            row = connection.execute("SELECT request FROM requests WHERE run = ?", (run.id,)).fetchone()
        with self.reading(f"the request of run {run.id}", "Submit its job again"):
            return None if row is None else typed(Request, json_value(zlib.decompress(bytes_value(row[0])).decode()))

    def latest(
        self,
        *,
        most: int = 0,
        alive: bool = False,
        project: Path | None = None,
        cluster: str | None = None,
        damaged: Callable[[str], None] | None = None,
    ) -> list[RunStatus]:
        """Return runs with their last known states, newest first.

        Args:
            most: Maximum number of runs; 0 for all.
            alive: Only return runs that have not ended.
            project: Only return runs of the project in this folder.
            cluster: Only return runs on this cluster.
            damaged: Receives a message about each damaged row, which is left out; None to raise an error instead.
        """
        return list(self._select(_where(alive=alive, project=project, cluster=cluster), most=most, damaged=damaged))

    def of_job(
        self, job: str, *, project: Path | None = None, cluster: str | None = None, alive: bool = False, most: int = 0
    ) -> list[RunStatus]:
        """Return the runs of a job, newest first; the arguments are those of `latest`."""
        # SQLite selects the rows by their text, which is faster than parsing the JSON of each row. It finds all rows of the
        # job, because `json.dumps` writes a name always in the same way. The last line removes other matches.
        where = [*_where(alive=alive, project=project, cluster=cluster), ("instr(run, ?)", f'"job": {json.dumps(job)},')]
        return [one for one in self._select(where, most=most) if one.run.job == job]

    def with_prefix(
        self, prefix: str, *, project: Path | None = None, cluster: str | None = None, most: int = 0
    ) -> list[RunStatus]:
        """Return the runs whose id begins with `prefix`, newest first; the other arguments are those of `latest`."""
        where = [*_where(project=project, cluster=cluster), (f"substr(id, 1, {len(prefix)}) = ?", prefix)]
        return list(self._select(where, most=most))

    def with_job_id(self, job_id: str, *, cluster: str | None = None) -> list[RunStatus]:
        """Return the runs that have a scheduler job with this id, newest first."""
        # The JSON text has the ids in quotation marks, separated by commas. SQLite selects the rows by this text, which is
        # faster than parsing the JSON of each row. The last line removes other matches.
        where = [*_where(cluster=cluster), ("instr(replace(run, '\"', ','), ?)", f",{job_id},")]
        return [one for one in self._select(where) if job_id in one.run.job_id.split(",")]

    def _select(
        self, where: Sequence[tuple[str, object]], *, most: int = 0, damaged: Callable[[str], None] | None = None
    ) -> Iterator[RunStatus]:
        """Yield the runs that fulfil all conditions of `where`, newest first.

        A condition is an SQL expression with one placeholder ``?``, and the value of the placeholder.
        """
        for row in self._newest_first("id, run, tasks, asked, project", where, most):
            try:
                yield self._status(*row)
            except ConfigError as error:
                if damaged is None:
                    raise
                damaged(str(error))

    def _newest_first(self, columns: str, where: Sequence[tuple[str, object]], most: int) -> list[tuple[object, ...]]:
        """Return the `columns` of the runs that fulfil all conditions of `where` (see `_select`), newest first."""
        conditions = " AND ".join(condition for condition, _ in where) or "1"
        with self.opened() as connection:
            return connection.execute(
                f"SELECT {columns} FROM runs WHERE {conditions} ORDER BY submitted DESC, rowid DESC LIMIT ?",  # noqa: S608
                (*(value for _, value in where), most or -1),
            ).fetchall()

    def find(self, run_ids: Sequence[str]) -> list[RunStatus]:
        """Return the runs with exactly these ids, in this order.

        `hpcdeploy.flows.choose_runs` also accepts prefixes of ids, job names and scheduler job ids.

        Raises:
            UnknownRunError: The record has no run with one of the ids.
        """
        found = []
        for run_id in run_ids:
            run = next(self._select([("id = ?", run_id)]), None)
            if run is None:
                raise _unknown(run_id)
            found.append(run)
        return found

    def labels(self, *, project: Path | None = None, most: int = 0) -> list[tuple[str, str, bool]]:
        """Return the id of each run, its cluster, and whether it has ended, newest first. The tasks are not read."""
        rows = self._newest_first("id, cluster, ended", _where(project=project), most)
        return [(str(run_id), str(cluster), bool(ended)) for run_id, cluster, ended in rows]

    def projects(self) -> list[Path]:
        """Return the folders of the projects that have runs or images, sorted."""
        with self.opened() as connection:
            rows = connection.execute("SELECT project FROM runs WHERE project != '' UNION SELECT project FROM built")
            return sorted(Path(str(row[0])) for row in rows)

    def moved(self, old: Path, new: Path) -> int:
        """Assign the runs and images of the project folder `old` to the folder `new`; return the number of moved runs."""
        with self.opened() as connection:
            return move_project(connection, os.fsencode(old), os.fsencode(new.resolve()))

    def cleaned(self, runs: Sequence[Run], *, when: int) -> None:
        """Record that the folders of `runs` were removed from their cluster, at `when` (seconds since 1970)."""
        with self.opened() as connection:
            # This table is created here and not by the schema, so that older releases can still use the file.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS cleaned (run TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID"
            )
            connection.executemany("INSERT OR REPLACE INTO cleaned VALUES (?, ?)", [(run.id, when) for run in runs])

    def when_cleaned(self) -> dict[str, int]:
        """Return the times at which `cleaned` was recorded, in seconds since 1970, by run id."""
        with self.opened() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cleaned'").fetchone():
                return {}
            rows = connection.execute("SELECT run, at FROM cleaned").fetchall()
        return {str(run): moment(at) for run, at in rows}

    def _status(self, run_id: object, run: object, tasks: object, asked: object, project: object) -> RunStatus:
        advice = f"To continue without this run, delete the row with the id {str(run_id)!r} from the table runs"
        with self.reading(f"the entry of run {str(run_id)!r}", advice):
            return _status(run, tasks, asked, project)


def _unknown(name: str) -> UnknownRunError:
    return UnknownRunError(f"the record has no run {name!r}; 'hpcdeploy runs' lists all runs")


def _run_text(run: Run) -> str:
    """Serialize a run without its project.

    The project has its own column, because an older hpcdeploy rejects a run with a field that it does not know.
    """
    return json.dumps({name: value for name, value in asdict(run).items() if name != "project"})


def _where(*, alive: bool = False, project: Path | None = None, cluster: str | None = None) -> list[tuple[str, object]]:
    """Return the conditions for `RunRows._select` that the arguments of `RunRows.latest` mean."""
    found: list[tuple[str, object]] = [("ended = ?", 0)] if alive else []
    if project is not None:
        found.append(("project = CAST(? AS TEXT)", os.fsencode(project.resolve())))
    if cluster is not None:
        found.append(("cluster = ?", cluster))
    return found


_NOTHING = vars(TaskStatus(task=-1, state=State.UNKNOWN))


def _tasks_text(tasks: Sequence[TaskStatus]) -> str:
    """Serialize tasks without their default values, because the text of ten thousand tasks would be large."""
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
    """Return the task with these fields.

    This does the same as `typed`, but faster, because an array may have ten thousand tasks.
    """
    state = State(fields["state"])
    for name, value in fields.items():
        if name != "state" and type(value) not in _TASK[name]:
            raise TypeError(f"{name} is {type(value).__name__}")
    return TaskStatus(**{**fields, "state": state})


def _status(run: object, tasks: object, asked: object, project: object) -> RunStatus:
    if not isinstance(asked, int):
        raise TypeError(f"found {type(asked).__name__}, expected a time")
    known = replace(typed(Run, json_value(run)), project=text_value(project or ""))
    return RunStatus(run=known, tasks=tuple(map(_task, json_value(tasks))), asked=asked)
