"""What is shown: words of others command no terminal, and no encoding makes a command fail."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hpcdeploy.cli import show
from hpcdeploy.cli.job import say_notes
from hpcdeploy.cli.status_text import print_statuses
from hpcdeploy.cli.watch import table_of
from hpcdeploy.flows.plan import Plan
from hpcdeploy.job import Request
from hpcdeploy.run import RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path
from tests.scheduler.samples import PLAIN, run_of

EVIL = "\x1b]0;owned\x07\x1b[2J two\nlines \u202e\x9b31m"
COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))


def test_what_a_scheduler_says_stays_on_its_line_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    held = TaskStatus(task=0, state=State.HELD, word="HELD", reason=EVIL, node=EVIL)
    one = RunStatus(run=run_of(PLAIN, job_id="40"), tasks=(held,), asked=1)
    print_statuses([one], json=False, tasks=True)
    shown = "".join(capsys.readouterr())
    assert "\\x1b]0;owned\\x07" in shown
    assert shown.replace("\n", "").isprintable()
    assert len(shown.splitlines()) == 3  # a line of heads, the run, and what to do
    assert all(cell.isprintable() for cell in table_of([one])[1][0])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
def test_json_is_json_whatever_the_terminals_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"caf\udce9": ["☃", "é", "\U0001f600"]}
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    show.as_json(value)
    assert json.loads(written.getvalue().decode(encoding)) == value


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_a_name_that_the_terminal_cannot_show_is_no_reason_to_fail(encoding: str, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONIOENCODING": encoding}
    run = run_of(PLAIN, job_id="40")
    store = Store(default_path(environment))
    store.add(run, "", request=Request(project=str(tmp_path)))
    reason = "naïve ☃ \udcff"
    task = TaskStatus(task=0, state=State.FAILED, reason=reason, exit_code=3, ended=int(time.time()))
    store.learned(RunStatus(run=run, tasks=(task,), asked=1))
    for words, told in ((["runs"], "na"), (["runs", "--json"], "naïve ☃")):
        done = subprocess.run([COMMAND, *words], env=environment, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        said = done.stdout.decode()
        assert told in (json.loads(said)[0]["tasks"][0]["reason"] if "--json" in words else said)


def test_a_files_name_in_a_note_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say_notes(cast("Plan", SimpleNamespace(notes=("a link \x1b[2J -> x",))))
    assert capsys.readouterr().err == "a link \\x1b[2J -> x\n"
