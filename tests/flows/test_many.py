"""Several tasks at once, with real processes: none stops another, and an interrupt ends all of them with their children."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcdeploy.flows.several_images import Ended, Task, first_failure, run_each


def shell(name: str, script: str) -> Task:
    return Task(name=name, argv=("sh", "-c", script))


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_one_failure_stops_no_other_and_is_the_exit_code(jobs: int) -> None:
    said: list[tuple[str, str]] = []
    ended = run_each(
        [
            shell("a", "echo step >&2; echo '{}'"),
            shell("b", "echo 'error: the build failed:' >&2; echo '  why' >&2; exit 67"),
            shell("c", "exit 68"),
            shell("d", "kill -KILL $$"),
            shell("e", "echo late"),
        ],
        jobs=jobs,
        say=lambda name, line: said.append((name, line)),
    )
    assert ended == [
        Ended(name="a", exit_code=0, output="{}\n"),
        Ended(name="b", exit_code=67, output="", error="the build failed:\n  why"),
        Ended(name="c", exit_code=68, output=""),
        Ended(name="d", exit_code=137, output=""),
        Ended(name="e", exit_code=0, output="late\n"),
    ]
    assert first_failure(ended) == 67
    assert sorted(said) == [("a", "step"), ("b", "  why"), ("b", "error: the build failed:")]


def test_as_many_run_at_once_as_are_asked_for(tmp_path: Path) -> None:
    # Each waits for the other to be there: one after the other, neither would end.
    meet = "touch {own}; while [ ! -e {other} ]; do sleep 0.05; done"
    tasks = [shell("a", meet.format(own="a", other="b")), shell("b", meet.format(own="b", other="a"))]
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert [one.exit_code for one in run_each(tasks, jobs=2, say=lambda _name, _line: None)] == [0, 0]
    finally:
        os.chdir(here)


def test_much_output_on_both_sides_blocks_nothing() -> None:
    loud = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"
    [ended] = run_each([shell("a", f"{loud}; {loud} >&2")], jobs=1, say=lambda _name, _line: None)
    assert len(ended.output) == 3000 * 41


RUN = """
import sys
from hpcdeploy.flows.several_images import Task, run_each
tasks = [Task(name=name, argv=(sys.executable, "-P", "-m", "hpcdeploy.cli.main", "build", "--json", "--", name))
         for name in sys.argv[1:]]
try:
    run_each(tasks, jobs=2, say=lambda name, line: print(name, line, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
PIXI = """
[workspace]
name = "x"
channels = ["conda-forge"]
platforms = ["linux-64"]
"""
SLEEPER = """#!/bin/sh
[ "$1" != --version ] || { echo "apptainer version 1.4.5"; exit 0; }
sleep 600 &
echo $! >"$PIDS/$$"
wait
"""


@pytest.mark.parametrize("whole_group", [True, False], ids=["as a terminal sends it", "to the first process alone"])
def test_an_interrupt_ends_builds_with_their_children_and_starts_no_more(tmp_path: Path, whole_group: bool) -> None:
    folder, pids, programs = tmp_path / "project", tmp_path / "pids", tmp_path / "bin"
    for made in (folder, pids, programs):
        made.mkdir()
    program = programs / "apptainer"
    program.write_text(SLEEPER)
    program.chmod(0o755)
    (folder / "hpcdeploy.toml").write_text("".join(f"[images.{name}]\ncommand = ['{name}']\n" for name in "abc"))
    (folder / "pixi.toml").write_text(PIXI)
    (folder / "pixi.lock").write_text(
        "version: 6\nenvironments:\n  default:\n    channels:\n    - url: https://conda.anaconda.org/conda-forge/\n"
        "    packages:\n      linux-64: []\npackages: []\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "a", "b", "c"],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PIDS": str(pids), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len([file for file in pids.iterdir() if file.read_text().strip()]) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.endswith("interrupted\n"), said
    sleepers = [int(file.read_text()) for file in pids.iterdir()]
    assert len(sleepers) == 2
    until = time.monotonic() + 60  # a process that was killed may need a moment to end on a busy machine
    while (left := [sleeper for sleeper in sleepers if alive(sleeper)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part") or path.suffix == ".sif"] == []
    assert list((tmp_path / ".cache" / "hpcdeploy" / "builds").glob("*/context")) == []


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
        return False
