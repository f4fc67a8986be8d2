"""What every transport keeps, proven on each."""

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcdeploy.errors import ConnectionLostError, TransportError
from hpcdeploy.limits import KEPT_OF_ERRORS, OutputLimit
from hpcdeploy.transport.contract import UNNAMED_SIGNAL, Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.openssh import OpensshTransport

SHOW = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])) + b'\\0')"

NASTY = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "\\",
    "\\'",
    "$HOME",
    "`id`",
    "$(id)",
    ";",
    "&&",
    "|",
    "\n",
    "a\nb\n",
    "\t",
    "é→🚀",
    "*",
    "~",
    "=ls",
]
NASTY += ["A=b", "-n", "--", "!", "#x", "{a,b}", "<(x)", "%d", "\x01\x7f", "\r", "a\\", "if"]

words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), max_size=8)


def shown(transport: Transport, argv: list[str]) -> list[str]:
    done = transport.run([sys.executable, "-c", SHOW, *argv])
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().split("\0")[:-1] if argv else []


def test_nasty_words_arrive_exactly(transport: Transport) -> None:
    assert shown(transport, NASTY) == NASTY


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=words)
def test_any_words_arrive_exactly(transport: Transport, argv: list[str]) -> None:
    assert shown(transport, argv) == argv


@pytest.mark.parametrize("name", ["a=b", "if", "echo", "a b;$x", "-n'é"])
def test_the_first_word_is_a_program_whatever_a_shell_makes_of_it(transport: Transport, tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\necho this very program\n")
    program.chmod(0o755)
    assert transport.run([str(program)]).stdout == b"this very program\n"


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_is_the_programs(transport: Transport, code: int) -> None:
    assert transport.run(["sh", "-c", f"exit {code}"]).exit_code == code


@pytest.fixture
def hangups() -> Iterator[None]:
    """Let SIGHUP end programs, also where the tests run under nohup: what is ignored stays so in each child (execve(2))."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("name", "number"), [("HUP", 1), ("KILL", 9), ("TERM", 15)])
@pytest.mark.usefixtures("hangups")
def test_a_signal_is_a_negative_exit_code(transport: Transport, name: str, number: int) -> None:
    expected = UNNAMED_SIGNAL if isinstance(transport, OpensshTransport) else -number  # ssh(1) does not report the number
    assert transport.run(["sh", "-c", f"kill -{name} $$"]).exit_code == expected


def test_a_missing_program_is_exit_code_127(transport: Transport) -> None:
    done = transport.run(["hpcdeploy-no-such-program", "x"])
    assert done.exit_code == 127
    assert b"hpcdeploy-no-such-program" in done.stderr


def test_a_file_that_is_no_program_is_exit_code_126(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    assert transport.run([str(tmp_path / "data")]).exit_code == 126


def test_streams_are_kept_apart(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)


def test_megabytes_go_all_ways_at_once(transport: Transport) -> None:
    data = bytes(range(256)) * 20_000
    errors: list[bytes] = []
    limit = OutputLimit(stdout=len(data))
    done = transport.run(["tee", "/dev/stderr"], stdin=data, on_stderr=errors.append, limit=limit)
    assert done.stdout == data
    assert b"".join(errors) == data
    assert done.stderr.startswith(data[:KEPT_OF_ERRORS])
    assert done.stderr.endswith(data[-KEPT_OF_ERRORS:])


def test_a_command_need_not_read_its_input(transport: Transport) -> None:
    assert transport.run(["true"], stdin=b"x" * 5_000_000).exit_code == 0
    assert transport.run(["head", "-c", "3"], stdin=b"abc" + b"x" * 5_000_000).stdout == b"abc"


def test_input_ends(transport: Transport) -> None:
    assert transport.run(["cat"]).stdout == b""
    assert transport.run(["wc", "-c"], stdin=b"12345").stdout.split() == [b"5"]


def test_input_may_wait_for_what_the_command_says(transport: Transport) -> None:
    said = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first\n"
        assert said.wait(20)
        yield b"x" * 300_000

    done = transport.run(["sh", "-c", "read line; echo $line; wc -c"], stdin=pieces(), on_stdout=lambda _: said.set())
    assert done.stdout.split() == [b"first", b"300000"]


def test_input_that_cannot_be_read_ends_the_command(transport: Transport) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        raise OSError("the disk is broken")

    with pytest.raises(OSError, match="the disk is broken"):
        transport.run(["sh", "-c", "cat; sleep 60"], stdin=pieces())


def test_output_is_handed_on_while_it_comes(transport: Transport, tmp_path: Path) -> None:
    go = tmp_path / "go"
    pieces: list[bytes] = []

    def take(piece: bytes) -> None:
        pieces.append(piece)
        go.touch()  # the command waits for this: were its output handed on at the end only, it would wait for ever

    script = 'echo first; while [ ! -e "$1" ]; do sleep 0.01; done; echo second >&2'
    done = transport.run(["sh", "-c", script, "sh", str(go)], on_stdout=take, timeout=20)
    assert b"".join(pieces) == done.stdout == b"first\n"
    assert done.stderr == b"second\n"


def test_silence_ends_a_command_and_says_which(transport: Transport) -> None:
    with pytest.raises(ConnectionLostError, match=r"(no output|wrote and read nothing) for 0\.3 s.*sleep 5"):
        transport.run(["sleep", "5"], timeout=0.3)


def test_a_command_that_speaks_is_not_silent(transport: Transport) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.25; done"
    assert transport.run(["sh", "-c", script], timeout=1.5).stdout == b"1\n2\n3\n4\n5\n6\n7\n8\n"


def test_what_a_callback_raises_passes_and_the_transport_still_works(transport: Transport) -> None:
    def refuse(_piece: bytes) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        transport.run(["sh", "-c", "while :; do echo more; done"], on_stdout=refuse)
    assert transport.run(["echo", "fine"]).stdout == b"fine\n"


@pytest.mark.parametrize("argv", [[], [""], ["echo", "a\0b"]])
def test_what_nobody_can_run_is_refused(transport: Transport, argv: list[str]) -> None:
    with pytest.raises(TransportError, match=r"first argument is missing|NUL"):
        transport.run(argv)


NAMES = ["plain", "a b", "it's", '"q"', "$HOME", "a;b", "new\nline", "é→🚀", "-n", "*", "\\", "%s"]


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name_go_there_and_back(transport: Transport, tmp_path: Path, name: str) -> None:
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    there.mkdir()
    source.write_bytes(bytes(range(256)) * 3000 + b"end")
    transport.put(source, str(there / name))
    assert [path.name for path in there.iterdir()] == [name]
    assert (there / name).read_bytes() == source.read_bytes()
    transport.get(str(there / name), back)
    assert back.read_bytes() == source.read_bytes()


def test_an_empty_file_is_a_file(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    transport.put(tmp_path / "empty", str(tmp_path / "there"))
    transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_program_stays_one_and_data_stays_data(transport: Transport, tmp_path: Path) -> None:
    for name, mode in (("program", 0o755), ("data", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
        transport.put(tmp_path / name, str(tmp_path / f"{name}.there"))
        transport.get(str(tmp_path / f"{name}.there"), tmp_path / f"{name}.back")
        assert (tmp_path / f"{name}.there").stat().st_mode & 0o777 == mode
        assert (tmp_path / f"{name}.back").stat().st_mode & 0o777 == mode


def test_an_older_file_is_replaced(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    for name in ("there", "back"):
        (tmp_path / name).write_text("something older and longer")
    transport.put(tmp_path / "new", str(tmp_path / "there"))
    transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "there").read_text() == (tmp_path / "back").read_text() == "new"


def test_progress_goes_from_nothing_to_all(transport: Transport, tmp_path: Path) -> None:
    size = 20_000_001  # more than a connection holds in its buffers, however late the machine comes to read them
    (tmp_path / "source").write_bytes(b"x" * size)
    put: list[tuple[int, int]] = []
    got: list[tuple[int, int]] = []
    transport.put(tmp_path / "source", str(tmp_path / "there"), progress=lambda *step: put.append(step))
    transport.get(str(tmp_path / "there"), tmp_path / "back", progress=lambda *step: got.append(step))
    for steps in (put, got):
        done = [step[0] for step in steps]
        assert done == sorted(done)
        assert steps[-1] == (size, size)
        assert len(steps) > 2


def test_a_put_that_cannot_be_leaves_nothing(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("text")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TransportError, match="cannot copy"):
        transport.put(tmp_path / "source", str(tmp_path / "missing" / "there"))
    with pytest.raises(TransportError, match="cannot copy"):
        transport.put(tmp_path / "source", str(tmp_path / "folder"))
    with pytest.raises(TransportError, match="cannot copy"):
        transport.put(tmp_path / "no source", str(tmp_path / "there"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_get_that_cannot_be_leaves_nothing(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("text")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TransportError, match="cannot copy"):
        transport.get(str(tmp_path / "not there"), tmp_path / "back")
    with pytest.raises(TransportError, match="cannot copy"):
        transport.get(str(tmp_path / "folder"), tmp_path / "back")
    with pytest.raises(TransportError, match="cannot copy"):
        transport.get(str(tmp_path / "source"), tmp_path / "missing" / "back")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_copy_leaves_nothing(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 20_000_000)
    there = tmp_path / "there"
    there.mkdir()

    def interrupt(done: int, _total: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transport.get(str(tmp_path / "source"), there / "back", progress=interrupt)
    assert list(there.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        transport.put(tmp_path / "source", str(there / "put"), progress=interrupt)
    # The other end notices by itself and clears up, a moment later.
    wait = 'n=0; while [ -n "$(ls -A "$1")" ] && [ $n -lt 500 ]; do sleep 0.02; n=$((n+1)); done; ls -A "$1"'
    assert transport.run(["sh", "-c", wait, "sh", str(there)]).stdout == b""


def test_closing_twice_is_allowed_and_the_next_command_opens_again(transport: Transport) -> None:
    with transport as entered:
        assert entered.run(["echo", "one"]).stdout == b"one\n"
    transport.close()
    transport.close()
    assert transport.run(["echo", "two"]).stdout == b"two\n"


def test_how_long_an_answer_takes_is_measured_where_there_is_a_way(transport: Transport) -> None:
    transport.run(["true"])
    assert (transport.delay == 0) == isinstance(transport, LocalTransport)
