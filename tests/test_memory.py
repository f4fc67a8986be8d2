"""What every command holds in memory, whatever a login node sends: the flood comes from the login profile there.

The login node is this machine (``host = "local"``), so the profile is a file of the test's own home folder. It prints more
than any limit lets through, and far less than a machine has: were it all kept, the command would have twice that. The limits
are the real ones.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcdeploy.run import Run
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
MOST = 150 * 1000
"""Kilobytes of memory that a command may have at its peak."""

FLOOD = 64
"""Megabytes that the login node sends."""

KILLER = 2 * 10**9
"""Bytes of address space: what ends a command that runs away after all. Threads reserve some hundred megabytes of it."""

SETTINGS = """
[clusters.here]
host = "local"
schedulers = ["slurm"]
root = "{root}"
"""
PROJECT = """
[images.x]
definition = "x.def"
[jobs.train]
image = "oras://127.0.0.1:9/x/y@sha256:{digest}"
command = ["true"]
"""
FLOODS = {
    "one line": "head -c {size}M /dev/zero | tr '\\0' x",
    "empty lines": "head -c {size}M /dev/zero | tr '\\0' '\\n'",
    "errors": "head -c {size}M /dev/zero | tr '\\0' '\\n' >&2",
    "marks": "yes 'HPCDEPLOY {{\"' | head -c {size}M",
    "wide characters": "yes '\U0001f600' | tr -d '\\n' | head -c {size}M",
}
COMMANDS = {
    "status": ("status", "train-1"),
    "wait": ("wait", "train-1", "--timeout", "2"),
    "logs": ("logs", "train-1"),
    "fetch": ("fetch", "train-1", "--output", "home/fetched"),
    "cancel": ("cancel", "--yes", "train-1"),
    "submit": ("submit", "--resume", "train-2"),
    "build": ("build", "x", "--on", "here"),
}


# Starts a command with a limit of its address space and prints its exit code and its peak in kB. A child's peak counts from
# what its parent had (getrusage(2), ru_maxrss, is kept over execve(2)): so the parent is this small program, not the tests.
MEASURE = """
import os, resource, subprocess, sys
killer = int(sys.argv[1])
process = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
resource.prlimit(process.pid, resource.RLIMIT_AS, (killer, killer))
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``memory`` is its peak in kB."""

    code: int
    error: str
    memory: int


@dataclass(frozen=True)
class Project:
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home")}

    def floods(self, how: str, size: int = FLOOD) -> None:
        """Let the login profile print; the shells that no script of ours starts are left alone."""
        text = FLOODS[how].format(size=size)
        (self.folder / "home" / ".bash_profile").write_text(f"{text}\n")

    def run(self, *words: str) -> Ended:
        with (self.folder / "errors").open("w+") as errors:
            measured = subprocess.run(
                [sys.executable, "-c", MEASURE, str(KILLER), COMMAND, *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=True,
            )
            code, memory = map(int, measured.stdout.split())
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 3000))
            return Ended(code, errors.read(), memory)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    settings = tmp_path / "home" / ".config" / "hpcdeploy"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(SETTINGS.format(root=tmp_path / "root"))
    (tmp_path / "hpcdeploy.toml").write_text(PROJECT.format(digest="a" * 64))
    (tmp_path / "x.def").write_text("Bootstrap: docker\nFrom: ubuntu:24.04\n")
    for number, job in enumerate(("7", ""), start=1):
        run = Run(
            id=f"train-{number}",
            job="train",
            cluster="here",
            scheduler="slurm",
            image="",
            sha256="a" * 64,
            tasks=1,
            command=("true",),
            submitted=int(time.time()),
            job_id=job,
        )
        Store(default_path(made.environment)).add(run, "echo HPCDEPLOY begins\n")
    return made


CASES = [
    *(("status", how) for how in FLOODS),
    *((command, how) for command in COMMANDS if command != "status" for how in ("one line", "errors")),
]


@pytest.mark.parametrize(("command", "how"), CASES)
def test_a_login_node_that_prints_without_end_costs_no_command_more_memory(project: Project, command: str, how: str) -> None:
    project.floods(how)
    ended = project.run(*COMMANDS[command])
    assert ended.memory < MOST, ended
    assert "Traceback" not in ended.error
    # What waits goes on asking until its time has passed; a submission that was lost is asked for, and stays unsure.
    assert ended.code in (67, 69, 71, 75), ended
    assert "is above hpcdeploy's limit" in ended.error or ended.code == 75, ended
