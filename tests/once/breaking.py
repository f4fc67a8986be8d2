"""Submissions that are broken at a point, and what is right afterwards."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from hpcdeploy.errors import UncertainSubmissionError
from hpcdeploy.flows import submit as flow
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from tests.once import client
from tests.once.conftest import Place
from tests.once.peers import kill_whoever_comes_to
from tests.once.planned import Planned
from tests.once.points import Point
from tests.once.proxy import Cut, Proxy

AT_ONCE = 8
PATIENCE = 120.0

CRASHED = 1
"""The exit code of a client that ended by an error of ours, with a traceback (the tests show it)."""

Plan = Callable[[Path, tuple[str, ...], Path], Planned]
"""Plans a fresh run, with a folder of its own, setup for its script, and the SSH configuration that leads to the cluster."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """An uninterrupted submission: bytes sent and received, seconds, and commands of the script's last call."""

    up: int
    down: int
    seconds: float
    commands: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one point's client: its exit code (negative: the signal that ended it), and its last words."""

    point: Point
    planned: Planned
    exit_code: int
    said: str
    cuts: int

    @property
    def run(self) -> Run:
        """The run that was submitted."""
        return self.planned.run


def behind_setup(line: str) -> tuple[str, ...]:
    """Return setup that lets the script on the login node run `line` once it has reset the shell: traps and options too.

    The job's own script has the same setup, and is left alone.
    """
    kept = """eval "$(declare -f known_state | sed '1s/.*/restore_state ()/')\""""
    own = f'[ -n "${{SLURM_JOB_ID-}}${{_CONDOR_SCRATCH_DIR-}}" ] || {{ {line}; }}'
    return (f"{kept}; known_state() {{ restore_state; {own}; }}",)


def measure(place: Place, plan: Plan, folder: Path) -> Whole:
    """Submit once and break nothing."""
    counter = f"{place.root}/commands-{folder.parent.name}"
    counting = behind_setup(f"counted=0; set -T; trap '((++counted)); echo \"$counted\" >{counter}' DEBUG")
    with Proxy(place.lab, folder, ()) as proxy:
        for number, setup in enumerate(((), counting)):
            own = folder / str(number)
            own.mkdir()
            one = plan(own, setup, proxy.ssh_config)
            assert ended(client.start(one, folder / "runs.db", own / "said"), own / "said") == (0, "")
    commands = int(inside(place.lab, ["cat", counter]).stdout)
    assert commands > 100, "the script's commands were not counted"
    up, down = proxy.passed[0]
    return Whole(up=up, down=down, seconds=proxy.lasted[0], commands=commands)


def ended(process: ForkServerProcess, said: Path) -> tuple[int, str] | None:
    """Wait for a client's end; return its exit code and its last words, or None where it had none."""
    process.join(PATIENCE)
    assert process.exitcode is not None, "the client hangs"
    code, _, words = (said.read_text() if said.exists() else "").partition(" ")
    return (int(code), words) if code else None


def break_one(place: Place, plan: Plan, point: Point, whole: Whole, folder: Path, record: Path) -> Outcome:
    """Start a client whose submission is broken at `point`, and wait until it has ended."""
    folder.mkdir()
    running: list[ForkServerProcess] = []
    killed: list[int] = []

    def kill() -> None:
        while not running:
            time.sleep(0.01)
        if point.kind.startswith("client"):
            killed.append(-signal.SIGKILL)
            running[0].kill()
        if "master" in point.kind:
            kill_whoever_comes_to(proxy.port)

    def cut(where: float) -> Cut:
        amount = where * 1.02
        instead = kill if " killed after " in point.kind else None
        match point.kind.partition(" after ")[2]:
            case "bytes to the login node":
                return Cut(up=int(amount * whole.up), late=point.late, instead=instead)
            case "bytes from the login node":
                return Cut(down=int(amount * whole.down), late=point.late, instead=instead)
            case "a time":
                return Cut(seconds=amount * whole.seconds, late=point.late, instead=instead)
            case _:
                return Cut()

    cuts = [cut(point.where), *([cut(point.again)] if point.again is not None else [])]
    with Proxy(place.lab, folder, cuts) as proxy:
        planned = plan(folder, _breaking_setup(place, point, whole, folder.name), proxy.ssh_config)
        running.append(client.start(planned, record, folder / "said"))
        last = ended(running[0], folder / "said")
    code, said = last or (-signal.SIGKILL if killed else CRASHED, "")
    return Outcome(point=point, planned=planned, exit_code=code, said=said, cuts=proxy.cut)


def _breaking_setup(place: Place, point: Point, whole: Whole, name: str) -> tuple[str, ...]:
    """Return what breaks the submission from inside the script, once."""
    mark = f"{place.root}/once-{name}"
    once = f"mkdir {mark} 2>/dev/null"
    second = f"{{ [ -d {mark} ] || ! {once}; }} && mkdir {mark}-2 2>/dev/null"
    end_script, end_login = "kill -KILL $$", "{ kill -KILL $PPID; kill -KILL -- -$$; }"

    def at_a_command(when: str, end: str) -> tuple[str, ...]:
        at = int(point.where * whole.commands) + 1
        return behind_setup(f"if {when}; then counted=0; set -T; trap '((++counted != {at})) || {end}' DEBUG; fi")

    match point.kind:
        case "script killed at a command":
            return at_a_command(once, end_script)
        case "script killed at a command of its second call":
            return at_a_command(second, end_script)
        case "login node gone at a command":
            return at_a_command(once, end_login)
        case "login node gone at a command of the second call":
            return at_a_command(second, end_login)
        case "login node gone before the scheduler's command":
            return place.broken("before")
        case "login node gone during the scheduler's command":
            return place.broken(f"during {point.where * 0.1:.3f}")
        case "login node gone after the scheduler's command":
            return place.broken("after")
        case _:
            return ()


def resume(place: Place, run: Run, store: Store) -> str:
    """Do what ``hpcdeploy submit --resume`` does, until it is sure; return the job's number."""
    for _ in range(3):
        try:
            with Connections(open_transport) as connections:
                uploads = store.uploads(run)
                done = flow.resume(run, store.script(run), connections.to(place.cluster), store, uploads=uploads)
                return done.run.job_id
        except UncertainSubmissionError:
            time.sleep(5)
    return "never sure"


def wrongs(outcomes: Sequence[Outcome], found: Mapping[str, set[str]], known: Mapping[str, Run]) -> list[str]:
    """Say of each submission whose jobs, record and last words do not fit what is wrong."""
    wrong: list[str] = []
    for one in outcomes:
        jobs = found.get(one.run.id, set())
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
            wrong.append(f"unknown, and not reported: {where}")
    return wrong


def told(scheduler: str, seed: str, outcomes: Sequence[Outcome], counts: Sequence[int], resumed: int, lost: int) -> str:
    """Say in one line what was broken and what became of it."""
    broken = sum(one.cuts for one in outcomes) + sum(
        1 for one in outcomes if one.point.kind.startswith(("script", "login node", "receiving"))
    )
    return (
        f"{scheduler}, HPCDEPLOY_SEED={seed}: {len(outcomes)} points, {broken} cuts and kills; {resumed} submissions "
        f"resumed; jobs found {sum(counts)}, lost {lost}, doubled {sum(count > 1 for count in counts)}; "
        f"exit codes {dict(Counter(one.exit_code for one in outcomes))}"
    )
