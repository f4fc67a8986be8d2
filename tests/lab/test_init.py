"""The lab's first process, run with plans of its own: order, failure, watch, end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy_lab import init as program
from hpcdeploy_lab import state
from hpcdeploy_lab.process import ENTER
from tests.lab.observing import eventually

FOREVER = ["sleep", "1000"]


def service(name: str, argv: list[str], ready: list[str], *after: str) -> dict[str, Any]:
    return {"name": name, "argv": argv, "ready": ready, "after": after, "user": "", "stop_signal": "SIGTERM"}


class Running:
    """The program with one plan, as the first process of a PID namespace."""

    def __init__(self, folder: Path, plan: dict[str, Any], start_limit: float = program.START_LIMIT) -> None:
        self.folder = folder
        (folder / "log").mkdir()
        (folder / "plan.json").write_text(json.dumps({"prepare": [], "finish": [], **plan}))
        code = f"from hpcdeploy_lab import init; init.START_LIMIT = {start_limit}; init.main()"
        namespace = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL"]
        argv = [*namespace, sys.executable, "-c", code, str(folder / "plan.json")]
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)

    def reaches(self, phase: str) -> bool:
        return eventually(lambda: self.status()["phase"] == phase, 30)

    def status(self) -> dict[str, Any]:
        return state.read_status(self.folder)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    begun: list[Running] = []

    def begin(*, start_limit: float = program.START_LIMIT, **plan: Any) -> Running:
        begun.append(Running(tmp_path, plan, start_limit))
        return begun[-1]

    yield begin
    for running in begun:
        running.process.kill()
        running.process.wait()


def test_a_service_starts_only_after_those_it_needs_answer(start: Any, tmp_path: Path) -> None:
    mark = tmp_path / "first-answers"
    second = ["sh", "-c", f"test -e {mark} && exec sleep 1000"]
    slow = ["sh", "-c", f"sleep 0.5; touch {mark}"]
    running = start(services=[service("second", second, ["true"], "first"), service("first", FOREVER, slow)])
    assert running.reaches("ready")
    assert running.status()["services"] == {"first": "ready", "second": "ready"}


def test_preparation_comes_first_and_what_finishes_comes_last(start: Any, tmp_path: Path) -> None:
    story = tmp_path / "story"
    running = start(
        prepare=[["sh", "-c", f"echo prepare >> {story}"]],
        services=[service("one", ["sh", "-c", f"echo one >> {story}; exec sleep 1000"], ["test", "-s", str(story)])],
        finish=[["sh", "-c", f"echo finish >> {story}"]],
    )
    assert running.reaches("ready")
    assert story.read_text().split()[::2] == ["prepare", "finish"]


@pytest.mark.parametrize(
    ("plan", "reason", "log"),
    [
        (
            {"services": [service("bad", ["sh", "-c", "exit 7"], ["false"])]},
            "bad ended (7) while the lab was starting",
            "bad",
        ),
        ({"prepare": [["sh", "-c", "exit 5"]], "services": []}, "sh -c exit 5 ended with 5", "prepare"),
        ({"finish": [["false"]], "services": []}, "false ended with 1", "finish"),
    ],
)
def test_a_failure_is_told_with_its_reason_and_its_log(start: Any, plan: dict[str, Any], reason: str, log: str) -> None:
    running = start(**plan)
    assert running.reaches("failed")
    assert (running.status()["reason"], running.status()["log"]) == (reason, log)
    assert running.process.wait(30) != 0


@pytest.mark.parametrize("check", [["false"], ["sh", "-c", "sleep 0.3; exit 1"], FOREVER], ids=["quick", "slow", "hangs"])
def test_the_start_ends_at_its_limit_whatever_the_readiness_check_does(start: Any, check: list[str]) -> None:
    running = start(services=[service("one", FOREVER, check)], start_limit=1)
    assert running.reaches("failed")
    assert (running.status()["reason"], running.status()["log"]) == ("one runs but does not answer after 1 s", "one.ready")


def test_the_lab_is_entered_with_any_path_of_the_caller() -> None:
    programs = "mount umount mknod pivot_root cp ln mkdir"
    found = f"for program in {programs}; do command -v $program; done"
    script = f'hostname() {{ {found}; exit; }}; . "$0"'  # enter.sh calls hostname first
    argv = ["/bin/sh", "-c", script, str(ENTER), "root", "state", "lab", "0"]
    done = subprocess.run(argv, env={"PATH": "/nowhere"}, input="go\n", capture_output=True, text=True, check=True)
    assert [path.rpartition("/")[2] for path in done.stdout.split()] == programs.split()


def test_a_service_that_ends_later_is_shown_and_the_others_stay(start: Any, tmp_path: Path) -> None:
    leave = tmp_path / "leave"
    short = ["sh", "-c", f"until test -e {leave}; do sleep 0.05; done; exit 3"]
    running = start(services=[service("short", short, ["true"]), service("long", FOREVER, ["true"])])
    assert running.reaches("ready")
    leave.touch()
    assert eventually(lambda: running.status()["services"] == {"short": "ended (3)", "long": "ready"}, 30)


def test_the_end_comes_to_dependents_before_what_they_need(start: Any, tmp_path: Path) -> None:
    story = tmp_path / "story"

    def telling(name: str) -> list[str]:
        return [
            "sh",
            "-c",
            f"trap 'sleep 0.2; echo {name} >> {story}; exit' TERM; touch {tmp_path / name}; while :; do sleep 0.05; done",
        ]

    services = [
        service("base", telling("base"), ["test", "-e", str(tmp_path / "base")]),
        service("leaf", telling("leaf"), ["test", "-e", str(tmp_path / "leaf")], "base"),
    ]
    running = start(services=services)
    assert running.reaches("ready")
    child = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    os.kill(int(child[0]), signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert story.read_text().split() == ["leaf", "base"]
    assert running.status()["phase"] == "stopped"
