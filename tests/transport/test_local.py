import time
from pathlib import Path

import pytest

from hpcdeploy.transport.local import LocalTransport


def test_a_program_that_was_begun_is_the_one_that_runs(tmp_path: Path) -> None:
    argv = ["sh", "-c", f"echo started >> {tmp_path}/log; cat"]
    with LocalTransport() as transport:
        transport.begin(argv)
        transport.begin(argv)
        deadline = time.monotonic() + 30
        while not (tmp_path / "log").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert transport.run(argv, stdin=b"sent").stdout == b"sent"
        assert (tmp_path / "log").read_text() == "started\n"
        assert transport.run(argv, stdin=b"again").stdout == b"again"
    assert (tmp_path / "log").read_text() == "started\nstarted\n"


@pytest.mark.parametrize("other", [True, False])
def test_a_program_that_was_begun_and_is_not_run_ends(tmp_path: Path, *, other: bool) -> None:
    argv = ["sh", "-c", f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; cat; touch {tmp_path}/ended"]
    with LocalTransport() as transport:
        transport.begin(argv)
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if other:
            assert transport.run(["echo", "other"]).stdout == b"other\n"
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()
    assert not (tmp_path / "ended").exists()


def test_a_program_that_cannot_be_begun_is_reported_when_it_runs() -> None:
    with LocalTransport() as transport:
        transport.begin(["/nowhere/program"])
        assert transport.run(["/nowhere/program"]).exit_code == 127
