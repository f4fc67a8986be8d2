"""A command on a login node that writes without end, or does not end; and a server that speaks SSH without end."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko
import pytest

from hpcdeploy.errors import OverLimitError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.ssh_packets import LONGEST_GREETING, LONGEST_PACKET, LimitedPacketizer

LIMIT = OutputLimit(stdout=100_000, stderr=100_000, seconds=2.0)


def shell(line: str) -> list[str]:
    return ["sh", "-c", line]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("yes", "wrote more than 100 kB on its standard output"),
        ("yes >&2", "wrote more than 100 kB on its standard error"),
        ("sleep 60", "took longer than 2 s"),
        ("while :; do echo; sleep 0.1; done", "took longer than 2 s"),
        ("exec >&- 2>&-; sleep 60", "took longer than 2 s"),
    ],
)
def test_a_command_without_end_is_ended(line: str, said: str) -> None:
    before = time.monotonic()
    with LocalTransport() as machine, pytest.raises(OverLimitError, match=said):
        machine.run(shell(line), limit=LIMIT)
    assert time.monotonic() - before < 50


def test_a_command_within_its_limit_is_read_as_it_is() -> None:
    with LocalTransport() as machine:
        done = machine.run(shell("head -c 90000 /dev/zero; head -c 90000 /dev/zero >&2"), limit=LIMIT)
    assert (len(done.stdout), len(done.stderr)) == (90_000, 90_000)


def test_what_somebody_takes_is_not_kept() -> None:
    taken: list[bytes] = []
    with LocalTransport() as machine:
        limit = OutputLimit(stdout=10, keep_stdout=False)
        done = machine.run(shell("printf abc"), on_stdout=taken.append, limit=limit)
    assert (done.stdout, b"".join(taken)) == (b"", b"abc")


@contextmanager
def hearing(content: bytes) -> Iterator[LimitedPacketizer]:
    """Give a reader that hears `content`."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs, suppress(OSError):
            theirs.sendall(content)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    with ours:
        yield LimitedPacketizer(ours)
    thread.join()


def test_a_packet_longer_than_any_is_not_waited_for() -> None:
    with hearing(b"x" * 100) as reader:
        assert reader.read_all(100) == b"x" * 100
    with hearing(b"") as reader, pytest.raises(paramiko.SSHException, match="announces a packet of"):
        reader.read_all(LONGEST_PACKET + 1)


def test_a_greeting_without_end_is_not_read_to_its_end() -> None:
    with hearing(b"hello\r\nSSH-2.0-x\r\n") as reader:
        assert reader.readline(5) == "hello"
    with hearing(b"x" * (LONGEST_GREETING * 4)) as reader, pytest.raises(paramiko.SSHException, match="and no version"):
        reader.readline(5)
