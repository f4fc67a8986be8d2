"""A build is killed, or finds a full disk, at each of its steps that change a file. The next call is right in any case.

A step is an audit event of Python (PEP 578), so the points are those of the code as it is. Apptainer is a script here.
"""

import errno
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.apptainer.image_cache import DAMAGED
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows import cache as flow
from hpcdeploy.whole_file import sha256_of
from tests import seed
from tests.flows.test_build_once import KEYED, Workplace
from tests.once import points

CHANGING = frozenset(
    {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.utime", "subprocess.Popen"}
)
"""Audit events that change a file, besides ``open`` for writing."""

NEEDS_ROOM = frozenset({"open", "os.link", "os.mkdir"})
"""Events that fail on a full disk."""

SITUATIONS = ("first", "forced", "from the cache", "damaged")
MOST = 1000 if os.environ.get(points.VARIABLE) == "all" else 6
"""Maximum number of points for each situation and fault. The seed chooses them."""


def changes(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        _, mode, flags = arguments
        writes = isinstance(mode, str) and any(sign in mode for sign in "wax+")
        return writes or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    return event in CHANGING


def prepare(work: Workplace, situation: str) -> Callable[[], object]:
    """Bring about the situation, and return the call that is disturbed."""
    if situation == "first":
        return work.build
    work.build()
    if situation == "forced":
        return lambda: work.build(repeating=Repeating(force=True))
    if situation == "damaged":
        (work.folder / "x.sif").unlink()
        work.entry().write_bytes(b"wrong")
        return work.build
    return lambda: work.build("y.sif")


def disturbed(call: Callable[[], object], number: int, fault: str) -> int:
    """Run `call` in a child process with a fault at the change `number`; return the number of changes that it made.

    The child ends like a process of its own. An error of hpcdeploy or of the operating system is no failure of the test.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            seen = pipe.read()
        os.waitpid(child, 0)
        assert not seen.startswith("wrong"), seen
        return int(seen or -1)
    code, made = 1, 0
    try:
        os.close(reader)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal made
            if not changes(event, arguments) or (fault == "full" and event not in NEEDS_ROOM):
                return
            made += 1
            if made == number and fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "full" and made >= number > 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        sys.addaudithook(hook)
        try:
            call()
        except (HpcdeployError, OSError):
            pass
        except BaseException as error:  # noqa: BLE001 - passed on to the test
            os.write(writer, f"wrong: {error!r}".encode())
            os._exit(1)
        os.write(writer, str(made).encode())
        code = 0
    finally:
        os._exit(code)


def is_right(work: Workplace) -> None:
    """Check what is true at any time: no file with its final name is damaged, or believed to be what it is not."""
    for image in (work.folder / "x.sif", work.folder / "y.sif"):
        assert not image.exists() or image.read_text().startswith("built by")
    entry = work.entry()
    if record_path(entry).exists() and read_record(entry):
        assert entry.read_text().startswith("built by")


def left(work: Workplace) -> list[str]:
    """Return the unfinished files."""
    build = work.cache.builds / KEYED.inputs[:16]
    inner = [path for name in ("context", "tmp", "secrets") if (path := build / name).exists()]
    notes = [*work.cache.builds.glob("*.part-*"), *work.folder.glob("*.part-*")]
    records = [*work.cache.images.glob("*.part-*"), *work.cache.environments.glob("*.part-*")]
    return work.left() + [str(path) for path in (*inner, *notes, *records)]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{os.environ[seed.VARIABLE]} {request.node.name}")


@pytest.mark.parametrize("fault", ["killed", "full"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_next_call_is_right_and_leaves_nothing(tmp_path: Path, situation: str, fault: str, rng: random.Random) -> None:
    (tmp_path / "count").mkdir()
    counted = Workplace(tmp_path / "count")
    steps = disturbed(prepare(counted, situation), 0, fault)
    assert steps > (1 if situation == "from the cache" else 10)
    for number in sorted(rng.sample(range(1, steps + 1), min(MOST, steps))):
        (tmp_path / str(number)).mkdir()
        work = Workplace(tmp_path / str(number))
        disturbed(prepare(work, situation), number, fault)
        if situation != "damaged":
            is_right(work)
        output = "y.sif" if situation == "from the cache" else "x.sif"
        built, _ = work.build(output)
        is_right(work)
        assert sha256_of(work.folder / output) == built.sha256
        assert read_record(work.folder / output, inputs=(KEYED.inputs,)), number
        assert left(work) == [], number
        assert work.build(output)[0].sha256 == built.sha256
        assert {item.verdict for item in flow.verify(work.cache)} <= {"intact"}, number
        assert situation == "damaged" or not (work.cache.images / DAMAGED).exists(), number
