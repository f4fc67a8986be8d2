"""Query the states of runs on many clusters in parallel, once or until all runs have ended."""

import math
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from hpcdeploy.errors import (
    ConfigError,
    HpcdeployError,
    MissingProgramError,
    SchedulerError,
    TemplateError,
    TransportError,
    UncertainSubmissionError,
    WaitTimeoutError,
)
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.query import QueryResult, query, unknown
from hpcdeploy.remote.session import Session, SessionOf
from hpcdeploy.run import TERMINAL, RunStatus
from hpcdeploy.store import Store

_NOT_OF_A_CLUSTER = (ConfigError, MissingProgramError, TemplateError)
"""Errors of the settings or of this machine, not of one cluster. They are raised unchanged if no cluster can be queried."""

SLOWEST = 60.0
"""Maximum time in seconds between two queries of a cluster in a long wait.

Frequent queries slow down the scheduler for all users (squeue(1), PERFORMANCE), so the interval grows up to this value.
"""

GROWTH = 1.5
"""Factor by which the time between two queries grows after each query."""

ROUNDS_UNTIL_LOST = 6
"""Number of consecutive queries in which the scheduler does not know any unfinished task; after these the wait ends."""


@frozen
class StatusReport:
    """The result of queries of one or more clusters.

    Attributes:
        statuses: The runs in the requested order, with their newest known states.
        failures: One message ``CLUSTER: REASON`` for each cluster that could not be queried.
    """

    statuses: tuple[RunStatus, ...]
    failures: tuple[str, ...]


@dataclass(kw_only=True)
class _Place:
    """One cluster whose runs are followed.

    Attributes:
        name: The cluster's name.
        interval: Time between two queries of this cluster, in seconds. It grows from query to query.
        shortest: Minimum of `interval`, in seconds: the cluster's ``poll-interval``.
        session: A session with the cluster; None if the cluster's settings are missing.
        due: The time of the next query, as `time.monotonic` returns it.
        asked: Whether a query has been sent whose answer is pending.
        failure: Why the last query failed; empty if it succeeded.
        refusal: An error that another query would not avoid, such as a rejected login. The cluster is not queried again.
        lost: Number of consecutive answers in which the scheduler did not know any unfinished task.
    """

    name: str
    interval: float
    shortest: float = 0.0
    session: Session | None = None
    due: float = 0.0
    asked: bool = False
    failure: str = ""
    refusal: HpcdeployError | None = None
    lost: int = 0


@frozen
class _QueryEnd:
    """The end of one query: the answer of the cluster, or an exception that the query did not expect (`crash`)."""

    place: _Place
    answer: QueryResult = field(default_factory=QueryResult)
    crash: BaseException | None = None


def status(
    known: Sequence[RunStatus],
    session_of: SessionOf,
    store: Store,
    *,
    patience: float = 60.0,
) -> StatusReport:
    """Query the states of the runs that had not ended, with one round trip for each cluster and scheduler.

    Clusters are queried in parallel. If a cluster fails or does not answer in time, the state of its runs becomes unknown,
    and `StatusReport.failures` has the reason. New states are written to the record.

    Args:
        known: The runs with their last known states.
        session_of: Returns the session with a cluster.
        store: The record of runs and images.
        patience: Timeout for all clusters together, in seconds.

    Raises:
        ConfigError: No cluster can be queried, because its settings are missing or invalid.
        MissingProgramError: No cluster can be queried, because a program is missing on this machine.
        TemplateError: No cluster can be queried, because a template is broken.
    """
    result = StatusReport(statuses=tuple(known), failures=())
    places = _Places(known, session_of, store, first=math.inf, slowest=math.inf)
    for result in places.rounds(patience):
        if not places.waiting:
            return result
    return places.given_up(patience) if places.waiting else result


def wait(
    known: Sequence[RunStatus],
    session_of: SessionOf,
    store: Store,
    *,
    first: float = 1.0,
    slowest: float = SLOWEST,
    patience: float = math.inf,
) -> Generator[StatusReport, None, None]:
    """Yield the known states of all runs after each answer of a cluster, until every run has ended.

    After a lost connection, the state of that cluster's runs is unknown until the next query opens a new connection.

    Args:
        known: The runs with their last known states.
        session_of: Returns the session with a cluster.
        store: The record of runs and images.
        first: Time between the first two queries of a cluster, in seconds. The interval grows from there. It is never below
            the cluster's ``poll-interval``.
        slowest: Maximum time between two queries, in seconds; a longer ``poll-interval`` has precedence.
        patience: Timeout in seconds.

    Raises:
        WaitTimeoutError: Not all runs ended within `patience` seconds.
        UncertainSubmissionError: It is not known whether a run was submitted.
        AuthenticationError: No cluster with unfinished runs can be queried any more, and the first of them rejected the
            login.
        ConfigError: No cluster with unfinished runs can be queried any more, because the settings of the first one are
            missing or invalid.
        MissingProgramError: No cluster with unfinished runs can be queried any more, because the first one needs a program
            that is missing on this machine.
        TemplateError: No cluster with unfinished runs can be queried any more, because a template for the first one is
            broken.
        SchedulerError: The schedulers did not know the remaining runs in `ROUNDS_UNTIL_LOST` consecutive queries, so these
            runs would never end.
    """
    check_submitted(known)
    places = _Places(known, session_of, store, first=first, slowest=slowest)
    left: list[RunStatus] = list(known)
    for result in places.rounds(patience):
        yield result
        left = [one for one in result.statuses if not one.ended]
        if not left:
            return
        places.check_answerable(left)
    raise WaitTimeoutError(
        f"timeout after {patience:.0f} s: these runs have not ended, and were not cancelled: "
        f"{', '.join(one.run.id for one in left)}"
    )


def check_submitted(known: Sequence[RunStatus]) -> None:
    """Raise `UncertainSubmissionError` if it is unknown whether a run was submitted, because the run may have no job."""
    unsure = [one.run.id for one in known if one.unsure]
    if unsure:
        raise UncertainSubmissionError(
            f"these runs may have been submitted or not: {', '.join(unsure)}; run 'hpcdeploy submit --resume {unsure[0]}' "
            "first, or cancel the run"
        )


class _Places:
    """The clusters whose runs are followed.

    Each cluster is queried at its own interval, so that a slow cluster does not delay another. Each query runs in its own
    thread. Only the thread that iterates over `rounds` changes this object and the record.
    """

    def __init__(
        self,
        known: Sequence[RunStatus],
        session_of: SessionOf,
        store: Store,
        *,
        first: float,
        slowest: float,
    ) -> None:
        self._known = {one.run.id: one for one in known}
        self._order = [one.run.id for one in known]
        self._store = store
        self._slowest = slowest
        self._query_ends: queue.SimpleQueue[_QueryEnd] = queue.SimpleQueue()
        self._places = [
            _place(name, session_of, first) for name in dict.fromkeys(one.run.cluster for one in known if one.alive)
        ]
        for place in self._places:
            if place.refusal and all(other.refusal for other in self._places):
                raise place.refusal
            if place.refusal:
                self._fail(place, str(place.refusal))

    @property
    def waiting(self) -> list[_Place]:
        """The clusters that were queried and have not answered yet."""
        return [place for place in self._places if place.asked]

    def rounds(self, patience: float) -> Iterator[StatusReport]:
        """Yield the known states after each answer, for up to `patience` seconds.

        If there is nothing to query, the known states are yielded once before the loop.
        """
        until = time.monotonic() + patience
        if not self._places:
            yield self._result()
        try:
            while (now := time.monotonic()) < until:
                idle = [place for place in self._places if not (place.asked or place.refusal) and self._runs(place)]
                for place in idle:
                    if place.due <= now and place.session:
                        self._begin(place, place.session)
                pause = min([until, *(place.due for place in idle if not place.asked)]) - now
                try:
                    news = self._query_ends.get(
                        timeout=None if pause == math.inf else min(max(0.0, pause), threading.TIMEOUT_MAX)
                    )
                except queue.Empty:
                    continue
                self._take(news)
                yield self._result()
        finally:
            for place in self.waiting:
                if place.session:
                    place.session.abandon()

    def given_up(self, patience: float) -> StatusReport:
        """Return the known states after a timeout; runs of clusters that did not answer become unknown."""
        for place in self.waiting:
            self._fail(place, f"no answer within {patience:.0f} s; check that 'ssh' can log in, and try again")
        return self._result()

    def check_answerable(self, left: Sequence[RunStatus]) -> None:
        """Raise if no cluster can report on the runs that are `left`.

        Raises:
            HpcdeployError: No cluster with unfinished runs can be queried; this is the first cluster's `refusal`.
            SchedulerError: The schedulers did not know these runs in `ROUNDS_UNTIL_LOST` consecutive queries.
        """
        open_places = [place for place in self._places if self._runs(place)]
        refusal = next((place.refusal for place in open_places if place.refusal), None)
        if refusal and all(place.refusal for place in open_places):
            raise refusal
        if all(place.lost >= ROUNDS_UNTIL_LOST for place in open_places):
            reasons = "; ".join(f"{one.run.id}: {next(task.reason for task in one.tasks if task.reason)}" for one in left)
            raise SchedulerError(f"the result of these runs is unknown, and waiting does not help: {reasons}")

    def _runs(self, place: _Place) -> list[RunStatus]:
        """Return the unfinished runs of a cluster."""
        return [one for one in self._known.values() if one.run.cluster == place.name and one.alive]

    def _result(self) -> StatusReport:
        failures = (f"{place.name}: {place.failure}" for place in self._places if place.failure)
        return StatusReport(statuses=tuple(self._known[run] for run in self._order), failures=tuple(failures))

    def _begin(self, place: _Place, session: Session) -> None:
        place.asked = True
        known, pinned = self._runs(place), session.pinned()

        def send() -> None:
            try:
                news = _QueryEnd(place=place, answer=query(pinned, known))
            except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
                news = _QueryEnd(place=place, crash=error)
            self._query_ends.put(news)

        # A daemon thread: at exit the program must not wait for a login node that does not answer.
        threading.Thread(target=send, daemon=True).start()

    def _take(self, news: _QueryEnd) -> None:
        if news.crash:
            raise news.crash
        place, answer = news.place, news.answer
        place.asked, place.failure = False, ""
        place.due = time.monotonic() + place.interval
        place.interval = max(min(place.interval * GROWTH, self._slowest), place.shortest)
        self._store.learned(*answer.statuses)
        self._known.update((one.run.id, one) for one in answer.statuses)
        if answer.error is None:
            left = self._runs(place)
            place.lost = place.lost + 1 if left and all(map(_lost, left)) else 0
            return
        error = answer.error
        self._fail(place, str(error), seen={one.run.id for one in answer.statuses})
        place.refusal = None if isinstance(error, TransportError | SchedulerError) else error
        if isinstance(error, _NOT_OF_A_CLUSTER) and all(other.refusal for other in self._places):
            raise error

    def _fail(self, place: _Place, why: str, *, seen: frozenset[str] | set[str] = frozenset()) -> None:
        place.failure, place.lost = why, 0
        reason = f"{place.name} could not be queried"  # the cause is reported once, not for each run
        self._known.update((one.run.id, unknown(one, reason)) for one in self._runs(place) if one.run.id not in seen)


def _place(name: str, session_of: SessionOf, first: float) -> _Place:
    """Return the initial state of a cluster. If its settings are missing or invalid, the error becomes its `refusal`."""
    try:
        session = session_of(name)
    except ConfigError as error:
        return _Place(name=name, interval=math.inf, refusal=error)
    shortest = session.cluster.poll_interval
    return _Place(name=name, session=session, interval=max(first, shortest), shortest=shortest)


def _lost(one: RunStatus) -> bool:
    """Tell whether the scheduler answered, but does not know any unfinished task of a run."""
    open_tasks = [task for task in one.tasks if task.state not in TERMINAL]
    return bool(open_tasks) and all(task.lost for task in open_tasks)
