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
"""Errors of the settings or of this machine: raised unchanged if no cluster can be queried."""

SLOWEST = 60.0
"""Maximum time in seconds between two queries of a cluster in a long wait; sites ask for this (squeue(1), PERFORMANCE)."""

GROWTH = 1.5
ROUNDS_UNTIL_LOST = 6
"""Number of rounds in which a task is unknown to the scheduler, after which waiting for it ends."""


@frozen
class Asked:
    """The known states: the runs in the requested order, and the reason for each cluster that could not be queried."""

    statuses: tuple[RunStatus, ...]
    failures: tuple[str, ...]


@dataclass(kw_only=True)
class _Place:
    """One cluster in a wait: without a session if its settings are missing.

    `due` is the time of its next query, by `time.monotonic`; `interval` grows from query to query, and is never below
    `shortest` (seconds).
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
class _News:
    place: _Place
    answer: QueryResult = field(default_factory=QueryResult)
    crash: BaseException | None = None


def status(
    known: Sequence[RunStatus],
    session_of: SessionOf,
    store: Store,
    *,
    patience: float = 60.0,
) -> Asked:
    """Query the states of the runs that had not ended, with one round trip for each cluster and scheduler.

    Clusters are queried in parallel. The runs of a cluster that fails or times out become unknown, with a message in
    `Asked.failures`. New states are written to the record.

    Args:
        known: The runs with their last known states.
        session_of: Returns the session with a cluster.
        store: The record.
        patience: Timeout in seconds.

    Raises:
        ConfigError: No cluster can be queried, because of its settings.
        MissingProgramError: No cluster can be queried, because a program is missing on this machine.
        TemplateError: A template is broken.
    """
    result = Asked(statuses=tuple(known), failures=())
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
) -> Generator[Asked, None, None]:
    """Yield the known states after each answer of a cluster, until every run has ended.

    After a lost connection, runs are unknown until the next query opens a new one.

    Args:
        known: The runs with their last known states.
        session_of: Returns the session with a cluster.
        store: The record.
        first: Time between two queries of a cluster at first, in seconds. It grows, and is never below the cluster's
            ``poll-interval``.
        slowest: Maximum time between two queries, in seconds.
        patience: Timeout in seconds.

    Raises:
        WaitTimeoutError: Not all runs ended within `patience` seconds.
        UncertainSubmissionError: It is not known whether a run was submitted.
        AuthenticationError: All clusters left reject the login.
        ConfigError: All clusters left are missing in the settings.
        SchedulerError: The remaining runs are unknown to their schedulers for several rounds, so they will never end.
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
        f"timeout after {patience:.0f} s: {', '.join(one.run.id for one in left)} did not end yet; they keep running"
    )


def check_submitted(known: Sequence[RunStatus]) -> None:
    """Raise `UncertainSubmissionError` if the submission of a run was interrupted, because it may have no job to query."""
    unsure = [one.run.id for one in known if one.unsure]
    if unsure:
        raise UncertainSubmissionError(
            f"it is not known whether {', '.join(unsure)} was submitted; run 'hpcdeploy submit --resume {unsure[0]}' first"
            ", or cancel it"
        )


class _Places:
    """The clusters in a wait. Each has its own queries and interval, so that none waits for another.

    A query runs in its own thread; everything else, including the record, belongs to the calling thread.
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
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
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
        """The clusters whose answer is pending."""
        return [place for place in self._places if place.asked]

    def rounds(self, patience: float) -> Iterator[Asked]:
        """Yield the known states after each answer (and once if there is nothing to query), for up to `patience` seconds."""
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
                    news = self._news.get(timeout=None if pause == math.inf else min(max(0.0, pause), threading.TIMEOUT_MAX))
                except queue.Empty:
                    continue
                self._take(news)
                yield self._result()
        finally:
            for place in self.waiting:
                if place.session:
                    place.session.abandon()

    def given_up(self, patience: float) -> Asked:
        """Return the known states after a timeout of the clusters that did not answer."""
        for place in self.waiting:
            self._fail(place, f"no answer within {patience:.0f} s; check that 'ssh' can log in, and try again")
        return self._result()

    def check_answerable(self, left: Sequence[RunStatus]) -> None:
        """Raise if no cluster can report on the remaining runs: all refuse, or do not know them for several rounds."""
        open_places = [place for place in self._places if self._runs(place)]
        refusal = next((place.refusal for place in open_places if place.refusal), None)
        if refusal and all(place.refusal for place in open_places):
            raise refusal
        if all(place.lost >= ROUNDS_UNTIL_LOST for place in open_places):
            reasons = "; ".join(f"{one.run.id}: {next(task.reason for task in one.tasks if task.reason)}" for one in left)
            raise SchedulerError(f"the result of these runs is unknown, and waiting does not help: {reasons}")

    def _runs(self, place: _Place) -> list[RunStatus]:
        return [one for one in self._known.values() if one.run.cluster == place.name and one.alive]

    def _result(self) -> Asked:
        failures = (f"{place.name}: {place.failure}" for place in self._places if place.failure)
        return Asked(statuses=tuple(self._known[run] for run in self._order), failures=tuple(failures))

    def _begin(self, place: _Place, session: Session) -> None:
        place.asked = True
        known, own = self._runs(place), session.pinned()

        def send() -> None:
            try:
                news = _News(place=place, answer=query(own, known))
            except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
                news = _News(place=place, crash=error)
            self._news.put(news)

        # A daemon thread: at exit the program must not wait for a login node that does not answer.
        threading.Thread(target=send, daemon=True).start()

    def _take(self, news: _News) -> None:
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
    """Return the initial state of a cluster; a cluster that is missing in the settings does not stop the others."""
    try:
        session = session_of(name)
    except ConfigError as error:
        return _Place(name=name, interval=math.inf, refusal=error)
    shortest = session.cluster.poll_interval
    return _Place(name=name, session=session, interval=max(first, shortest), shortest=shortest)


def _lost(one: RunStatus) -> bool:
    """Tell whether waiting is useless: all tasks that have not ended are unknown, although the scheduler answered."""
    open_tasks = [task for task in one.tasks if task.state not in TERMINAL]
    return bool(open_tasks) and all(task.lost for task in open_tasks)
