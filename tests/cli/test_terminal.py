"""What goes to a terminal: drawn tables, progress bars, questions and errors, with words of others in them."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from hpcdeploy.cli import show
from hpcdeploy.cli.logs import logs
from hpcdeploy.cli.watch import page
from hpcdeploy.flows.follow import StatusReport
from hpcdeploy.run import RunStatus, State, TaskStatus
from hpcdeploy.transport import prompts as asking
from tests.scheduler.samples import PLAIN, run_of

EVIL = "[red]x[/red] \x1b]0;owned\x07\x9b2J\u202e"
SHOWN = "[red]x[/red] \\x1b]0;owned\\x07\\x9b2J\\u202e"
COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@contextmanager
def on_a_terminal() -> Iterator[Terminal]:
    """Let standard output and standard error be a terminal, whose text is given."""
    stream = Terminal()
    with redirect_stdout(stream), redirect_stderr(stream):
        yield stream


def test_a_drawn_table_holds_no_markup_and_no_command_in_its_heads_and_cells() -> None:
    with on_a_terminal() as terminal:
        show.table((EVIL, "NODE"), [("a", EVIL)])
    assert terminal.getvalue().count(SHOWN) == 2
    assert "owned\x07" not in terminal.getvalue()


def test_a_progress_bar_has_its_name_as_it_is() -> None:
    with on_a_terminal() as terminal, show.transfer(EVIL) as progress:
        progress(1, 2)
    assert "owned\x07" not in terminal.getvalue()
    assert "[red]" in terminal.getvalue()


def test_watch_shows_what_a_scheduler_says_as_it_is() -> None:
    held = TaskStatus(task=0, state=State.HELD, word="HELD", reason=EVIL, node=EVIL)
    status = RunStatus(run=run_of(PLAIN, job_id=EVIL), tasks=(held,), asked=1)
    written = io.StringIO()
    console = Console(file=written, width=300, height=40)
    console.print(page(StatusReport(statuses=(status,), failures=(f"hpc: {EVIL}",)), console))
    assert written.getvalue().count(SHOWN) >= 3
    assert written.getvalue().replace("\n", "").isprintable()


def test_a_question_of_the_far_side_commands_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def hidden(question: str) -> str:
        asked.append(question)
        return "secret"

    monkeypatch.setattr("getpass.getpass", hidden)
    with on_a_terminal() as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", Terminal("yes\n"))
        ask = asking.terminal_ask()
        assert ask
        assert ask(f"{EVIL}: ", False) == "secret"
        assert ask(f"{EVIL}: ", True) == "yes"
    assert asked == [f"{SHOWN}: "]
    assert terminal.getvalue() == f"{SHOWN}: "


def test_what_programs_read_is_exact_in_a_pipe_and_plain_on_a_terminal() -> None:
    with on_a_terminal() as terminal:
        show.exact(f"{EVIL}\n")
    assert terminal.getvalue() == f"{SHOWN}\n"
    script = f"from hpcdeploy.cli import show; show.exact({EVIL!r} + '\\udcff')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == EVIL.encode() + b"\xff"


def test_words_of_the_far_side_are_cleaned_even_if_they_come_in_pieces() -> None:
    with on_a_terminal() as terminal:
        for piece in ("caf\u00e9 \x1b[31mred".encode()[:4], "caf\u00e9 \x1b[31mred".encode()[4:8], b"1mred\x1b[0m \x07\n"):
            show.pass_on(piece)
    assert terminal.getvalue() == "café red \\x07\n"


def test_an_error_and_its_traceback_command_no_terminal(tmp_path: Path) -> None:
    for more in ({}, {"HPCDEPLOY_DEBUG": "1"}):
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), **more}
        done = subprocess.run(
            [COMMAND, "status", "no\x1b[2Jsuch"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 72
        assert "\\x1b[2J" in done.stderr
        assert done.stderr.replace("\n", "").isprintable()
        assert ("Traceback" in done.stderr) == bool(more)


def test_logs_say_that_they_are_raw_and_how_to_have_them_plain() -> None:
    assert "cat" in (logs.__doc__ or "")
    done = subprocess.run([COMMAND, "logs", "--help"], capture_output=True, text=True, check=True)
    assert "--plain" in done.stdout


def test_a_real_terminal_gets_no_commands_of_a_script(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    script = f"from hpcdeploy.cli import show; show.put({EVIL!r}); show.say({EVIL!r}); show.as_json([{EVIL!r}])"
    subprocess.run([sys.executable, "-c", script], stdout=slave, stderr=slave, check=True)
    os.close(slave)
    written = b""
    try:
        while piece := os.read(master, 4096):
            written += piece
    except OSError:  # the other end is closed (pty(7))
        pass
    os.close(master)
    assert written.decode().replace("\r\n", "").isprintable()
