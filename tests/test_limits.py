"""What is read of what has no end: so much, and for so long."""

import sys
from pathlib import Path

import pytest

from hpcdeploy.limits import (
    Collected,
    Ends,
    Lines,
    TooMuchError,
    following,
    format_bytes,
    run_program,
    text_lines,
)

ENDLESS = "import sys\nwhile True: sys.{stream}.write('x' * 65536)"


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_all_is_kept_up_to_the_limit_and_nothing_beyond_it() -> None:
    kept = Collected(5)
    for piece in (b"ab", b"", b"cde"):
        kept.take(piece)
    assert kept.content() == b"abcde"
    with pytest.raises(TooMuchError, match="more than 5 bytes"):
        kept.take(b"f")


def test_of_errors_both_ends_are_kept_and_what_is_left_out_is_told() -> None:
    ends = Ends(1000, kept=4)
    for letter in b"0123456789abcdef":
        ends.take(bytes([letter]))
    assert ends.content() == b"0123\n[... 8 bytes left out ...]\ncdef"
    short = Ends(1000, kept=4)
    short.take(b"0123456")
    assert short.content() == b"0123456"
    with pytest.raises(TooMuchError, match="more than"):
        ends.take(b"x" * 1000)
    with pytest.raises(TooMuchError, match="too many lines"):
        Ends(1000, lines=2).take(b"\n\n\n")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_are_cut_where_they_end_and_where_they_are_too_long(size: int) -> None:
    lines, text = Lines(4), b"ab\n\nabcdefgh\nabcd\nrest"
    found = [line for start in range(0, len(text), size) for line in lines.take(text[start : start + size])]
    assert found == [b"ab", b"", b"abcd", b"abcd"]
    assert lines.rest() == b"rest"
    assert lines.rest() == b""


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_that_must_be_whole_is_left_out_if_it_is_too_long(size: int) -> None:
    lines, text = Lines(4, whole=True), b"abcd\nabcdefgh\nxy\nabcde"
    found = [line for start in range(0, len(text), size) for line in lines.take(text[start : start + size])]
    assert found == [b"abcd", b"[... a line of 8 bytes is left out here ...]", b"xy"]
    assert lines.rest() == b"[... a line of 5 bytes is left out here ...]"
    assert lines.rest() == b""


def test_empty_lines_are_passed_over() -> None:
    assert list(text_lines("\n\na\n\nb c\n")) == ["a", "b c"]
    assert list(text_lines("x")) == ["x"]


def test_a_program_is_read_to_its_end() -> None:
    done = run_program(python("import sys; print(sys.stdin.read()); sys.exit('no')"), stdin=b"said")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"said\n", b"no\n")
    with pytest.raises(FileNotFoundError):
        run_program(["/nowhere/at/all"])


def test_a_program_that_writes_without_end_is_ended() -> None:
    with pytest.raises(TooMuchError, match="more than 100 kB"):
        run_program(python(ENDLESS.format(stream="stdout")), most=100_000)


SLEEPS = "import os, time; {}time.sleep(60)"


WRITES_ON = "import sys, time\nwhile True:\n    print('x', file=sys.stderr, flush=True)\n    time.sleep(0.01)"


@pytest.mark.parametrize("text", [SLEEPS.format(""), SLEEPS.format("os.close(1); os.close(2); "), WRITES_ON])
def test_a_program_that_does_not_end_is_ended(text: str) -> None:
    with pytest.raises(TooMuchError, match="for longer than"):
        run_program(python(text), seconds=1.0)


def test_the_limit_of_states_grows_with_the_tasks_that_were_asked_for() -> None:
    assert following(1).stdout < 3 * 2**20 < following(10_000).stdout < 64 * 2**20
    assert format_bytes(2 * 2**20) == "2.1 MB"
    assert format_bytes(999) == "999 bytes"


INTERRUPTED = """
import os, signal, subprocess
from pathlib import Path
{imports}

begin = subprocess.Popen.__init__

def interrupted(self, *args, **kwargs):  # a signal that comes while the process is started
    begin(self, *args, **kwargs)
    print(self.pid, flush=True)
    os.kill(os.getpid(), signal.SIGINT)

subprocess.Popen.__init__ = interrupted
try:
    {call}
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from hpcdeploy.limits import run_program", 'run_program(["sleep", "300"])'),
        (
            "from hpcdeploy.apptainer.client import ApptainerClient",
            'ApptainerClient("sleep")._run(["sleep", "300"])',
        ),
    ],
)
def test_an_interrupt_while_a_program_is_started_leaves_no_process(imports: str, call: str) -> None:
    done = run_program(python(INTERRUPTED.format(imports=imports, call=call)))
    pid, said = done.stdout.decode().split()
    assert (said, done.returncode) == ("interrupted", 0), done.stderr
    assert not Path(f"/proc/{pid}").exists()
