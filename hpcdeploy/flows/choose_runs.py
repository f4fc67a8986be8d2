"""Find the runs that a user names. All commands and options that expect a run use this module.

A name is looked up in this order:

1. as the exact id of a run
2. as the name of a job, which means the newest run of that job
3. as the beginning of a run's id
4. as the scheduler's job id

In steps 2 and 3, runs of the project in the working folder have precedence over runs of other projects.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.frozen import frozen
from hpcdeploy.run import RunStatus
from hpcdeploy.store import Store

_JOB_ID = re.compile(r"([0-9]{1,20})(?:[_.]([0-9]{1,9}))?")
"""Slurm's ``123`` and ``123_4`` (squeue(1), JOBARRAYID), HTCondor's ``123`` and ``123.4`` (condor_q(1), JOB_IDS)."""

_MOST_LISTED = 6
"""Maximum number of run ids or folders in one message."""


@frozen
class Scope:
    """Where runs are searched.

    Attributes:
        store: The record of runs and images.
        folder: The working folder, for messages.
        project: The folder of the project that the working folder is in; None if it is in none.
        cluster: The name of the cluster whose runs are searched; None for all clusters.
    """

    store: Store
    folder: Path
    project: Path | None = None
    cluster: str | None = None

    def has(self, one: RunStatus) -> bool:
        """Tell whether a run belongs to the project in the working folder."""
        return self.project is not None and one.run.project == str(self.project.resolve())


@frozen
class Chosen:
    """A run that was named.

    Attributes:
        status: The run with its last known state.
        task: The task's number in the run, if the user gave the scheduler's id of one task (``123_4``); else None.
        by_job: The user gave the name of the run's job.
        by_prefix: The user gave the beginning of the run's id.
        partly: The user gave a scheduler's id that means only some tasks of the run: one task, or one of several array
            chunks.
    """

    status: RunStatus
    task: int | None = None
    by_job: bool = False
    by_prefix: bool = False
    partly: bool = False


def newest(scope: Scope, verb: str, otherwise: str = "") -> RunStatus:
    """Return the newest run of the project.

    Args:
        scope: Where runs are searched.
        verb: The command, for the error message.
        otherwise: Another way to name runs in this command, for the error message.

    Raises:
        ConfigError: The working folder is in no project.
        UnknownRunError: The project has no runs.
    """
    check_inside(scope, verb, otherwise)
    found = scope.store.latest(most=1, project=scope.project, cluster=scope.cluster)
    if not found:
        raise UnknownRunError(no_runs(scope))
    return found[0]


def check_inside(scope: Scope, verb: str, otherwise: str = "") -> None:
    """Raise `ConfigError` if the working folder is in no project; the arguments are those of `newest`."""
    if scope.project is None:
        raise ConfigError(
            f"{verb} needs a run, because {scope.folder} is not in a project; name a run ('hpcdeploy runs' lists all)"
            f"{otherwise}, or change to the project's folder"
        )


def no_runs(scope: Scope) -> str:
    """Return the message for a project without runs. It has advice if this project may be a recorded one that was moved.

    A moved project's old folder is gone. Its parent is still there, or its name is the same. For the temporary folder of a
    script, such as ``make demo``, neither is true.
    """
    where = f" on cluster {scope.cluster}" if scope.cluster else ""
    name = scope.project.name if scope.project else ""
    gone = [folder for folder in scope.store.projects() if not folder.exists()]
    lost = [folder for folder in gone if folder.name == name or folder.parent.exists()]
    moved = (
        f". If this project was at {lost[0]} before, run 'hpcdeploy runs --moved-from {shlex.quote(str(lost[0]))}'"
        if len(lost) == 1
        else f". If its folder was renamed or moved, run 'hpcdeploy runs --moved-from OLD' (gone: {_listed(lost)})"
        if lost
        else ""
    )
    return (
        f"the project {scope.project} has no runs{where} yet; submit one with 'hpcdeploy submit', or name another "
        f"project's run ('hpcdeploy runs --all' lists all){moved}"
    )


def find(name: str, scope: Scope) -> Chosen:
    """Return the run that `name` means.

    Raises:
        UnknownRunError: `name` matches no run, or several.
    """
    chosen = _find(name, scope) if name and name.isascii() and (scope.cluster or "").isascii() else None
    if chosen is None:
        where = f" on cluster {scope.cluster}" if scope.cluster else ""
        raise UnknownRunError(f"the record has no run {name!r}{where}; 'hpcdeploy runs --all' lists all")
    return chosen


def find_all(names: Sequence[str], scope: Scope, verb: str, otherwise: str = "") -> list[RunStatus]:
    """Return the runs that `names` mean, without duplicates; without names, return the project's newest run.

    The other arguments are those of `newest`.

    Raises:
        ConfigError: There are no names, and the working folder is in no project.
        UnknownRunError: A name matches no run, or several, or the project has no runs.
    """
    if not names:
        return [newest(scope, verb, otherwise)]
    found = [find(name, scope).status for name in names]
    return list({one.run.id: one for one in found}.values())


def _find(name: str, scope: Scope) -> Chosen | None:
    store, cluster = scope.store, scope.cluster
    if store.knows(name):
        [known] = store.find([name])
        return Chosen(status=known) if cluster in (None, known.run.cluster) else None
    here = [scope.project] if scope.project else []
    for project in (*here, None):
        if found := store.of_job(name, project=project, cluster=cluster, most=1):
            return Chosen(status=found[0], by_job=True)
    for project in (*here, None):
        found = store.with_prefix(name, project=project, cluster=cluster, most=_MOST_LISTED + 1)
        if len(found) > 1:
            raise UnknownRunError(f"{name!r} is ambiguous: {_ids(found)}; use a longer prefix")
        if found:
            return Chosen(status=found[0], by_prefix=True)
    return _by_job_id(name, scope)


def _by_job_id(name: str, scope: Scope) -> Chosen | None:
    """Return the run with a scheduler's job id; None if there is none.

    Schedulers reuse job ids. Therefore the newest run is returned if several runs on one cluster have this job id.

    Raises:
        UnknownRunError: Runs of several clusters or schedulers have this job id, or the job has no such task.
    """
    match = _JOB_ID.fullmatch(name)
    found = scope.store.with_job_id(match[1], cluster=scope.cluster) if match else []
    if not (match and found):
        return None
    first = {(one.run.cluster, one.run.scheduler): one for one in reversed(found)}
    if len(first) > 1:
        several = ", ".join(f"{one.run.id} on {cluster} ({scheduler})" for (cluster, scheduler), one in first.items())
        advice = "select one with --cluster" if len({cluster for cluster, _ in first}) > 1 else "use the run's id"
        raise UnknownRunError(f"the job id {match[1]} is ambiguous: {several}; {advice}")
    known = found[0]
    part = next(part for part in known.run.parts if part.job_id == match[1])
    task = None if match[2] is None else part.first + int(match[2])
    if match[2] is not None and int(match[2]) >= part.tasks:
        raise UnknownRunError(f"run {known.run.id} (job {match[1]}) has no task {match[2]}; expected 0 to {part.tasks - 1}")
    partly = len(known.run.parts) > 1 or (task is not None and known.run.tasks > 1)
    return Chosen(status=known, task=task, partly=partly)


def _ids(found: Sequence[RunStatus]) -> str:
    more = ", ..." if len(found) > _MOST_LISTED else ""
    return ", ".join(one.run.id for one in found[:_MOST_LISTED]) + more


def _listed(folders: Sequence[Path]) -> str:
    more = ", ..." if len(folders) > _MOST_LISTED else ""
    return ", ".join(map(str, folders[:_MOST_LISTED])) + more
