"""Follow: where runs are, on many clusters side by side; once, and again and again until they end."""

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.cluster import Cluster
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
from hpcdeploy.flows.asking import alive, alive_by_scheduler, ask, unknown
from hpcdeploy.flows.connections import Connections
from hpcdeploy.run import TERMINAL, RunStatus
from hpcdeploy.store import Store

_NOT_OF_A_CLUSTER = (ConfigError, MissingProgramError, TemplateError)
"""What is wrong with the settings, or with this machine: raised as it is where no cluster can be asked."""

ClusterOf = Callable[[str], Cluster]
"""Finds a cluster's settings by its name."""

SLOWEST = 60.0
"""Seconds between two questions to a cluster once a wait is long: what sites ask for (squeue(1), PERFORMANCE)."""

GROWTH = 1.5
ROUNDS_UNTIL_LOST = 6
"""Answers of a scheduler in which a task is gone without a trace, until nobody waits for it any more."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known: each run's status in the order asked for, and for each cluster that could not be asked, why."""

    statuses: tuple[RunStatus, ...]
    failures: tuple[str, ...]


@dataclass(kw_only=True)
class _Place:
    """One cluster as it is followed: ``due`` is when it may be asked next, by `time.monotonic`."""

    cluster: Cluster
    interval: float
    due: float = 0.0
    asked: bool = False
    failure: str = ""
    refusal: HpcdeployError | None = None
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class _News:
    place: _Place
    learned: list[RunStatus] = field(default_factory=list)
    error: BaseException | None = None


def status(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    patience: float = 60.0,
    overrides: Path | None = None,
) -> Asked:
    """Ask where the runs are that had not ended when last seen; one round trip for each cluster and scheduler.

    Clusters are asked side by side. One that cannot be asked, or says nothing for `patience` seconds, makes its runs unknown
    and is told in `Asked.failures`. What was learned is noted in the record, what could not be asked is not. `overrides` is
    the folder of the project whose own templates count.
    """
    asked = Asked(statuses=tuple(known), failures=())
    places = _Places(known, cluster_of, connections, store, first=math.inf, slowest=math.inf, overrides=overrides)
    for asked in places.rounds(patience):
        if not places.waiting:
            return asked
    return places.given_up(patience) if places.waiting else asked


def wait(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    first: float = 1.0,
    slowest: float = SLOWEST,
    patience: float = math.inf,
    overrides: Path | None = None,
) -> Generator[Asked, None, None]:
    """Yield what is known whenever a cluster has answered, until every run has ended.

    Each cluster is asked at its own pace: at first every `first` seconds, more and more slowly up to `slowest`, and never
    more often than its ``poll-interval``. A connection that dies is opened again at the next question: its runs are unknown
    meanwhile. Raises `WaitTimeoutError` after `patience` seconds, `AuthenticationError` or `ConfigError` where only clusters
    are left that do not let us in or that no settings describe, and `SchedulerError` where for several rounds nobody could
    say anything of a run though asked: waiting on would be waiting for ever.
    """
    check_submitted(known)
    places = _Places(known, cluster_of, connections, store, first=first, slowest=slowest, overrides=overrides)
    left: list[RunStatus] = list(known)
    for asked in places.rounds(patience):
        yield asked
        left = [one for one in asked.statuses if not one.ended]
        if not left:
            return
        places.give_up_hope(left)
    raise WaitTimeoutError(f"not ended after {patience:.0f} s: {', '.join(one.run.id for one in left)}; they go on")


def check_submitted(known: Sequence[RunStatus]) -> None:
    """Raise `UncertainSubmissionError` where a run's submission was cut off, so that there may be nothing to ask about."""
    unsure = [one.run.id for one in known if one.unsure]
    if unsure:
        raise UncertainSubmissionError(
            f"nobody knows yet whether {', '.join(unsure)} was submitted; run 'hpcdeploy submit --resume {unsure[0]}' first"
            ", or cancel it"
        )


class _Places:
    """The clusters that are followed, each with its own questions and its own pace: none waits for another.

    A question is asked in a thread of its own; everything else, the record too, is this thread's.
    """

    def __init__(
        self,
        known: Sequence[RunStatus],
        cluster_of: ClusterOf,
        connections: Connections,
        store: Store,
        *,
        first: float,
        slowest: float,
        overrides: Path | None,
    ) -> None:
        self._known = {one.run.id: one for one in known}
        self._order = [one.run.id for one in known]
        self._connections = connections
        self._store = store
        self._slowest = slowest
        self._overrides = overrides
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._places = [_place(name, cluster_of, first) for name in dict.fromkeys(one.run.cluster for one in alive(known))]
        for place in self._places:
            if place.refusal and all(other.refusal for other in self._places):
                raise place.refusal
            if place.refusal:
                self._fail(place, str(place.refusal))

    @property
    def waiting(self) -> list[_Place]:
        """The clusters whose answer is still to come."""
        return [place for place in self._places if place.asked]

    def rounds(self, patience: float) -> Iterator[Asked]:
        """Yield what is known, at first where there is nothing to ask, then at each answer, for `patience` seconds."""
        until = time.monotonic() + patience
        if not self._places:
            yield self._asked()
        try:
            while (now := time.monotonic()) < until:
                idle = [place for place in self._places if not (place.asked or place.refusal) and self._runs(place)]
                for place in idle:
                    if place.due <= now:
                        self._begin(place)
                pause = min([until, *(place.due for place in idle if not place.asked)]) - now
                try:
                    news = self._news.get(timeout=None if pause == math.inf else min(max(0.0, pause), threading.TIMEOUT_MAX))
                except queue.Empty:
                    continue
                self._take(news)
                yield self._asked()
        finally:
            for place in self.waiting:
                self._connections.forsake(place.cluster)

    def given_up(self, patience: float) -> Asked:
        """Tell what is known where the clusters that have not answered are waited for no more."""
        for place in self.waiting:
            self._fail(place, f"no answer within {patience:.0f} s; see whether 'ssh' gets in, and ask again")
        return self._asked()

    def give_up_hope(self, left: Sequence[RunStatus]) -> None:
        """Raise where nobody will ever be able to say more of the runs that are `left`."""
        open_places = [place for place in self._places if self._runs(place)]
        refusal = next((place.refusal for place in open_places if place.refusal), None)
        if refusal and all(place.refusal for place in open_places):
            raise refusal
        if all(place.lost >= ROUNDS_UNTIL_LOST for place in open_places):
            told = "; ".join(f"{one.run.id}: {next(task.reason for task in one.tasks if task.reason)}" for one in left)
            raise SchedulerError(f"nobody knows how these ended, and waiting will not tell: {told}")

    def _runs(self, place: _Place) -> list[RunStatus]:
        return [one for one in alive(list(self._known.values())) if one.run.cluster == place.cluster.name]

    def _asked(self) -> Asked:
        failures = (f"{place.cluster.name}: {place.failure}" for place in self._places if place.failure)
        return Asked(statuses=tuple(self._known[run] for run in self._order), failures=tuple(failures))

    def _begin(self, place: _Place) -> None:
        place.asked = True
        known = self._runs(place)

        def question() -> None:
            learned: list[RunStatus] = []
            refused: BaseException | None = None
            try:
                transport = self._connections.to(place.cluster)
                for (_, scheduler), group in alive_by_scheduler(known).items():
                    try:
                        for one in ask(transport, place.cluster, scheduler, group, overrides=self._overrides):
                            learned.append(one)  # noqa: PERF402 - what came before an error counts
                    except SchedulerError as error:  # the cluster's other scheduler may answer
                        refused = refused or error
            except BaseException as error:  # noqa: BLE001 - it is raised, or told, in the thread that waits
                refused = error
            self._news.put(_News(place=place, learned=learned, error=refused))

        # A daemon: a program that ends need not wait for a login node that does not answer.
        threading.Thread(target=question, daemon=True).start()

    def _take(self, news: _News) -> None:
        place = news.place
        place.asked, place.failure = False, ""
        place.due = time.monotonic() + place.interval
        place.interval = max(min(place.interval * GROWTH, self._slowest), place.cluster.poll_interval)
        self._store.learned(*news.learned)
        self._known.update((one.run.id, one) for one in news.learned)
        match news.error:
            case None:
                left = self._runs(place)
                place.lost = place.lost + 1 if left and all(map(_lost, left)) else 0
            case HpcdeployError() as error:
                self._connections.drop(place.cluster)
                self._fail(place, str(error), told={one.run.id for one in news.learned})
                place.refusal = None if isinstance(error, TransportError | SchedulerError) else error
                if isinstance(error, _NOT_OF_A_CLUSTER) and all(other.refusal for other in self._places):
                    raise error
            case error:
                raise error

    def _fail(self, place: _Place, why: str, *, told: frozenset[str] | set[str] = frozenset()) -> None:
        place.failure, place.lost = why, 0
        reason = f"{place.cluster.name} could not be asked"  # why is told once, and not by each of its runs
        self._known.update((one.run.id, unknown(one, reason)) for one in self._runs(place) if one.run.id not in told)


def _place(name: str, cluster_of: ClusterOf, first: float) -> _Place:
    """Begin with a cluster; one that the settings no longer describe holds up no other."""
    try:
        cluster = cluster_of(name)
    except ConfigError as error:
        return _Place(cluster=Cluster(name=name), interval=math.inf, refusal=error)
    return _Place(cluster=cluster, interval=max(first, cluster.poll_interval))


def _lost(one: RunStatus) -> bool:
    """Whether nothing is left to wait for: what has not ended is unknown, though the scheduler was asked and answered."""
    open_tasks = [task for task in one.tasks if task.state not in TERMINAL]
    return bool(open_tasks) and all(task.lost for task in open_tasks)
