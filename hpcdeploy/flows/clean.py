"""Remove folders of ended runs, and staged files that no run needs, from a cluster."""

import time
from collections.abc import Sequence

from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.follow import status
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.cleaning import Cleaned, clean
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.store import Store


@frozen
class Plan:
    """The runs and files that can be removed from a cluster.

    Attributes:
        runs: The runs that ended before the minimum age, and whose folders were not removed yet.
        found: The report of the login node on these runs, and on staged files.
        kept: The runs that were submitted before the minimum age, but have not ended or have an unknown state. They are not
            removed.
    """

    runs: Sequence[Run]
    found: Cleaned
    kept: Sequence[RunStatus]


def plan(session: Session, store: Store, *, older_than: int, now: int | None = None) -> Plan:
    """Find what can be removed from a cluster; nothing is removed.

    The states of old runs that had not ended are queried first. Then the login node lists the folders of ended runs, and the
    staged files.

    Args:
        session: A session with the cluster.
        store: The record of runs and images.
        older_than: Minimum age in seconds. The age of a run is counted from its end; the age of a staged file from its
            upload.
        now: The time in seconds since 1970; None for the current time.

    Raises:
        SchedulerError: A scheduler did not answer, or the root is unsafe.
        TransportError: The connection failed.
    """
    cutoff = (int(time.time()) if now is None else now) - older_than
    name, cleaned = session.cluster.name, store.when_cleaned()
    known = [
        one
        for one in store.latest(damaged=lambda _message: None)
        if one.run.cluster == name and one.run.submitted < cutoff and one.run.id not in cleaned
    ]
    alive = [one for one in known if not one.ended]
    if alive:
        learned = {one.run.id: one for one in status(alive, lambda _name: session, store).statuses}
        known = [learned.get(one.run.id, one) for one in known]
    ended = [one for one in known if one.ended]
    runs = [one.run for one in ended if ended_at(one) < cutoff]
    return Plan(
        runs=tuple(runs),
        found=clean(session, runs, None, older_than=older_than),
        kept=tuple(one for one in known if not one.ended),
    )


def ended_at(one: RunStatus) -> int:
    """Return a time in seconds since 1970 at which a run had ended.

    This is the end of the task that ended last. If the end of a task is not recorded, the time of the last query is used,
    which is later.
    """
    ends = [task.ended for task in one.tasks]
    return max(ends) if ends and all(ends) else max([one.asked, one.run.submitted, *ends])


def carry_out(planned: Plan, session: Session, store: Store, *, older_than: int) -> Cleaned:
    """Remove the run folders and staged files that the plan lists as free, and record the runs whose folders are gone.

    Raises:
        SchedulerError: A scheduler did not answer, or the root is unsafe; nothing was removed.
        TransportError: The connection failed; some of the folders and files may have been removed.
    """
    free = {one.name for one in planned.found.runs if one.verdict in ("free", "gone")}
    runs = [run for run in planned.runs if run.id in free]
    staged = [one.name for one in planned.found.staged if one.verdict == "free"]
    done = clean(session, runs, staged, older_than=older_than)
    gone = {one.name for one in done.runs if one.verdict in ("removed", "failed", "gone")}
    store.cleaned([run for run in runs if run.id in gone], when=int(time.time()))
    return done


def check_not_cleaned(store: Store, run: Run) -> None:
    """Raise `SchedulerError` if ``hpcdeploy clean`` removed the folder of `run`, including its output and logs."""
    when = store.when_cleaned().get(run.id)
    if when is not None:
        day = time.strftime("%Y-%m-%d", time.localtime(when))
        raise SchedulerError(
            f"the folder of run {run.id} on {run.cluster}, with its output and logs, was removed by 'hpcdeploy clean' on "
            f"{day}; its record is still there: 'hpcdeploy results {run.id}'"
        )
