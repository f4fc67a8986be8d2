"""What every test may ask for (the lab, a real cluster on this machine), and how tests are spread over worker processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from hpcdeploy_lab import cluster
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.settings import default_settings
from hpcdeploy_lab.state import Lab, locked
from tests import machine, needs, order, seed, shared
from tests.labs import StartLab, end_own_labs, own_lab
from tests.shared import OWN, RUN, SHARED, once

# A shell starts what runs in the background with SIGINT ignored, and every child would inherit that (POSIX sh, 2.11).
signal.signal(signal.SIGINT, signal.default_int_handler)

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
SOURCE = Path(__file__).parent.parent

_seconds: dict[str, float] = defaultdict(float)
_said: list[str] = []
_began = time.monotonic()


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    for name, what in (
        *needs.MARKERS.items(),
        ("slow", "needs none of these, but took a second or more in the last run that was kept"),
    ):
        config.addinivalue_line("markers", f"{name}: {what}")
    if not is_worker(config):
        shared.FOLDER.mkdir(mode=0o700, exist_ok=True)
        os.environ.setdefault(seed.VARIABLE, seed.seed_of(SOURCE))  # the workers inherit it
        _leave_the_home_folder(shared.FOLDER / "home")


def _leave_the_home_folder(home: Path) -> None:
    """Set HOME to the empty folder `home`, for the workers too; the lab's state and cache stay where they are.

    Many tests run a login shell and end it in the middle. With the person's home folder it would run the person's own
    login profile: one that was ended within pyenv's set-up left pyenv's lock behind, and each login shell after it waited
    a minute for that lock (pyenv 2.6, ``pyenv rehash``).
    """
    for variable, folder in (("XDG_STATE_HOME", ".local/state"), ("XDG_CACHE_HOME", ".cache")):
        os.environ.setdefault(variable, str(Path.home() / folder))
    home.mkdir(mode=0o700, exist_ok=True)
    os.environ["HOME"] = str(home)


def pytest_report_header() -> str:
    return f"seed: {seed.VARIABLE}={os.environ[seed.VARIABLE]}"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many workers ``-n auto`` means: none for tests that are named one by one."""
    named = any("::" in word for word in config.args)
    return 0 if named else machine.workers(machine.read_cores(), machine.read_available_memory())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it needs, or as slow."""
    known = order.read_durations()
    for item in items:
        parameters = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        found = needs.markers(item.nodeid, getattr(item, "fixturenames", ()), tuple(parameters))
        if not found and known.get(item.nodeid, 0.0) >= order.SLOW:
            found = {"slow"}
        for need in found:
            item.add_marker(need)


class UnitScheduling(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Hands whole units to the workers, the longest first (`tests.order`).

    pytest-xdist 3.8 has ``--dist=loadgroup`` for that, which pytest 9.2 takes no notice of: it writes the group behind a
    test's id, and an id cannot be changed any more.
    """

    def schedule(self) -> None:
        if self.collection is None:
            tests = next(iter(self.registered_collections.values()))
            self.units = order.units(tests, order.read_durations())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self.units[nodeid]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    return UnitScheduling(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a test took, and what it has to say to the person."""
    _seconds[report.nodeid] += report.duration
    if report.when == "teardown":
        _said.extend(str(line) for name, line in report.user_properties if name == "said")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _said:
        terminalreporter.section("what was broken, and what became of it")
        for line in _said:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the durations down, and remove what the workers shared."""
    if is_worker(session.config) or session.config.option.collectonly:
        return
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    order.write_run(_seconds, time.monotonic() - _began, whole=whole and not session.config.option.markexpr)
    _leave_the_lab()
    end_own_labs()
    shutil.rmtree(shared.FOLDER, ignore_errors=True)


def _leave_the_lab() -> None:
    """Remove this test run's folders from the lab, and take it down if this run has brought it up."""
    lab = cluster.find(default_settings())
    if lab is not None:
        inside(lab, ["sh", "-c", f"chmod -R u+rwX {lab.scratch}/pytest-{RUN}-*; rm -rf {lab.scratch}/pytest-{RUN}-*"])
        if (shared.FOLDER / "lab-started").exists():
            cluster.down(default_settings())


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hd", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give a function whose lines are printed at the end of the test run, whichever process a test runs in."""
    return lambda line: record_property("said", line)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Give the shared lab, running with accounting; it is taken down at the end only if it was not up before.

    Its folders ``$SCRATCH/OWN`` (this worker's) and ``$SCRATCH/SHARED`` (all workers') are the lab user's, and gone at the
    end: several test runs may use one lab.
    """
    settings = default_settings()
    with locked(shared.FOLDER / "lab.lock", "", lambda _: None):
        if cluster.find(settings) is None:
            (shared.FOLDER / "lab-started").touch()
        in_memory = machine.read_available_memory() >= machine.MEMORY_FOR_SCRATCH
        lab = cluster.up(replace(settings, scratch_in_memory=in_memory))
    for name in (OWN, SHARED):
        made = inside(lab, ["install", "-d", "-m", "0700", "-o", lab.user, f"{lab.scratch}/{name}"])
        assert made.returncode == 0, made.stderr.decode()
    return lab


@pytest.fixture(scope="session")
def htcondor(lab: Lab) -> None:
    """Make sure that the lab has HTCondor. What uses this fixture is no test of Slurm (`tests.needs`)."""
    assert "htcondor" in lab.schedulers


@pytest.fixture(scope="session")
def start_lab() -> StartLab:
    """Give the function that runs a lab of a test's own (`tests.labs.own_lab`)."""
    return own_lab


@pytest.fixture(scope="session")
def wheel() -> Path:
    """Build the project's wheel, once for all workers."""
    return once("wheel", build_wheel)


def build_wheel() -> Path:
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", shared.FOLDER / "wheel", SOURCE], check=True)
    [made] = (shared.FOLDER / "wheel").glob("*.whl")
    return made


_WAITS = 60
"""Seconds after which a test of `in_time` has failed: what waits for a pipe would wait for ever."""


@pytest.fixture
def in_time() -> Iterator[None]:
    """Let the test fail where it waits for what never comes."""

    def late(_number: int, _frame: object) -> None:
        raise AssertionError(f"nothing came in {_WAITS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_WAITS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
