"""A submission that is cut off anywhere is one job, or none and a word that says so: nothing doubled, nothing lost."""

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.errors import UncertainSubmissionError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.submit import submit
from hpcdeploy.lab.inside import inside
from hpcdeploy.run import Run
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from tests.once import client
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.conftest import Place
from tests.once.points import KINDS, Point, points
from tests.once.proxy import Cut, Proxy

AT_ONCE = 8
PATIENCE = 120.0

CRASHED = 1
"""The exit code of a client that ended by an error of ours, with a traceback (the tests show it)."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a submission is that nobody breaks: bytes up and down, seconds, and commands of the script."""

    up: int
    down: int
    seconds: float
    commands: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one point's client: its exit code (negative: the signal that ended it), and its last words."""

    point: Point
    run: Run
    exit_code: int
    said: str
    cuts: int


def measure(place: Place, scheduler: SchedulerName, folder: Path) -> Whole:
    """Submit once and break nothing."""
    counter = f"{place.root}/commands-{scheduler}"
    counting = ("counted=0; set -T", f"trap '((++counted)); echo \"$counted\" >{counter}' DEBUG")
    with Proxy(place.lab, folder, ()) as proxy:
        plain = place.planned(scheduler, ssh_config=proxy.ssh_config)
        counted = place.planned(scheduler, counting, proxy.ssh_config)
        for one in (plain, counted):
            said = folder / one.run.id
            assert ended(client.start(one.run, one.script, one.cluster, folder / "runs.db", said), said) == (0, "")
    commands = int(inside(place.lab, ["cat", counter]).stdout)
    up, down = proxy.passed[0]
    return Whole(up=up, down=down, seconds=proxy.lasted[0], commands=commands)


def ended(process: ForkServerProcess, said: Path) -> tuple[int, str] | None:
    """Wait for a client's end; return its exit code and its last words, or None where it had none."""
    process.join(PATIENCE)
    assert process.exitcode is not None, "the client hangs"
    code, _, words = (said.read_text() if said.exists() else "").partition(" ")
    return (int(code), words) if code else None


def break_one(place: Place, scheduler: SchedulerName, point: Point, whole: Whole, folder: Path, record: Path) -> Outcome:
    """Start a client whose submission is broken at `point`, and wait until it has ended."""
    folder.mkdir()
    running: list[ForkServerProcess] = []
    killed: list[int] = []

    def kill() -> None:
        while not running:
            time.sleep(0.01)
        killed.append(-signal.SIGKILL)
        running[0].kill()

    def cut(where: float) -> Cut:
        amount = where * 1.02
        match point.kind:
            case "cut after bytes to the login node":
                return Cut(up=int(amount * whole.up), late=point.late)
            case "cut after bytes from the login node":
                return Cut(down=int(amount * whole.down), late=point.late)
            case "cut after a time":
                return Cut(seconds=amount * whole.seconds, late=point.late)
            case "client killed after bytes to the login node":
                return Cut(up=int(amount * whole.up), instead=kill)
            case "client killed after bytes from the login node":
                return Cut(down=int(amount * whole.down), instead=kill)
            case _:
                return Cut()

    setup: tuple[str, ...] = ()
    once = f"mkdir {place.root}/once-{folder.name} 2>/dev/null"
    at = int(point.where * whole.commands) + 1
    match point.kind:
        case "script killed at a command":
            setup = (f"if {once}; then counted=0; set -T; trap '((++counted != {at})) || kill -KILL $$' DEBUG; fi",)
        case "login node gone at a command":
            end = "kill -KILL $PPID; kill -KILL -- -$$"
            setup = (f"if {once}; then counted=0; set -T; trap '((++counted != {at})) || {{ {end}; }}' DEBUG; fi",)
        case "login node gone before the scheduler's command":
            setup = place.broken("before")
        case "login node gone during the scheduler's command":
            setup = place.broken(f"during {point.where * 0.1:.3f}")
        case "login node gone after the scheduler's command":
            setup = place.broken("after")
        case _:
            pass
    cuts = [cut(point.where), *([cut(point.again)] if point.again is not None else [])]
    with Proxy(place.lab, folder, cuts) as proxy:
        planned = place.planned(scheduler, setup, proxy.ssh_config)
        running.append(client.start(planned.run, planned.script, planned.cluster, record, folder / "said"))
        last = ended(running[0], folder / "said")
    code, said = last or (-signal.SIGKILL if killed else CRASHED, "")
    return Outcome(point=point, run=planned.run, exit_code=code, said=said, cuts=proxy.cut)


def resume(place: Place, run: Run, store: Store) -> str:
    """Do what ``hpcdeploy submit --resume`` does, until it is sure; return the job's number."""
    for _ in range(3):
        try:
            with Connections(open_transport) as connections:
                return submit(run, store.script(run), place.cluster, connections, store, again=True).run.job_id
        except UncertainSubmissionError:
            time.sleep(5)
    return "never sure"


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_submission_cut_off_anywhere_is_one_job_or_says_that_there_is_none(
    place: Place, scheduler: SchedulerName, seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = points(f"{seed} {scheduler}")
    (tmp_path / "whole").mkdir()
    whole = measure(place, scheduler, tmp_path / "whole")
    record = tmp_path / "runs.db"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(
                lambda pair: break_one(place, scheduler, pair[1], whole, tmp_path / f"{scheduler}-{pair[0]}", record),
                enumerate(chosen),
            )
        )
    store = Store(record)
    time.sleep(2)  # a script whose connection died before its first line may not hold its lock yet
    wait_for_scripts(place.lab, place.root)

    first = jobs_by_run(place.lab, scheduler)
    known = {status.run.id: status.run for status in store.latest()}
    wrong: list[str] = []
    for one in outcomes:
        jobs = first.get(one.run.id, set())
        noted = known.get(one.run.id)
        where = f"{one.point}, exit code {one.exit_code}, {one.said!r}: jobs {sorted(jobs)}"
        if len(jobs) > 1:
            wrong.append(f"doubled: {where}")
        elif noted is None and jobs:
            wrong.append(f"lost, since the record forgot the run: {where}")
        elif noted is not None and noted.job_id and {noted.job_id} != jobs:
            wrong.append(f"lost, since the record says job {noted.job_id}: {where}")
        elif noted is None and one.exit_code >= 0 and not one.said:
            wrong.append(f"no job, and nothing said: {where}")
        elif noted is not None and not noted.job_id and one.exit_code >= 0 and "--resume" not in one.said:
            wrong.append(f"nobody knows, and nothing said: {where}")

    left = [run for run in known.values() if not run.job_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        resumed = dict(zip((run.id for run in left), pool.map(lambda run: resume(place, run, store), left), strict=True))
    second = jobs_by_run(place.lab, scheduler)
    for run_id, job in resumed.items():
        if second.get(run_id, set()) != {job}:
            wrong.append(f"resumed as job {job}, but there are {sorted(second.get(run_id, set()))}: {known[run_id]}")

    counts = [len(second.get(one.run.id, set())) for one in outcomes]
    broken = sum(one.cuts for one in outcomes) + sum(
        1 for one in outcomes if one.point.kind.startswith(("script", "login node"))
    )
    with capsys.disabled():
        print(
            f"\n{scheduler}, HPCDEPLOY_SEED={seed}: {len(outcomes)} points, {broken} cuts and kills; "
            f"{len(left)} submissions resumed; jobs found {sum(counts)}, lost {sum('lost' in line for line in wrong)}, "
            f"doubled {sum(count > 1 for count in counts)}; exit codes {dict(Counter(one.exit_code for one in outcomes))}"
        )
    assert wrong == []
    assert Counter(one.point.kind for one in outcomes) == KINDS
    assert all(count == 1 for one, count in zip(outcomes, counts, strict=True) if one.run.id in known)
