"""What an archive from a cluster may hold, and what it may not."""

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.transport.contract import Completed, Input, Output, ignore_output
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of

Entry = tuple[str, bytes, str]


class PacksThis(LocalTransport):
    """This machine, on which the packing script finds an archive that is already there."""

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self._archive = archive

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
    ) -> Completed:
        if argv[0] == "bash":
            return Completed(exit_code=0, stdout=f'HPCDEPLOY {{"archive": "{self._archive}"}}\n'.encode(), stderr=b"")
        return super().run(argv, stdin=stdin, on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        super().get(remote, local, progress=progress)

    def __enter__(self) -> Self:
        return self


@pytest.fixture
def bring(tmp_path: Path) -> Callable[[list[Entry]], Path]:
    def bring_home(entries: list[Entry]) -> Path:
        archive = tmp_path / "archive.tar"
        with tarfile.open(archive, "w") as tar:
            for name, content, link in entries:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                if link == "fifo":
                    member.type = tarfile.FIFOTYPE
                elif link:
                    member.type, member.linkname, member.size = tarfile.SYMTYPE, link, 0
                tar.addfile(member, io.BytesIO(content))
        with Connections(lambda _: PacksThis(archive)) as connections:
            fetch(run_of(PLAIN), tmp_path / "home", Cluster(name="c"), connections)
        return tmp_path / "home"

    return bring_home


def test_files_and_links_inside_come_home(bring: Callable[[list[Entry]], Path]) -> None:
    home = bring([("output/a b/ü", b"x", ""), ("output/latest", b"", "a b/ü"), ("logs/0.out", b"", "")])
    assert (home / "output" / "latest").read_bytes() == b"x"
    assert (home / "logs" / "0.out").read_bytes() == b""


@pytest.mark.parametrize(
    "entries",
    [
        [("../outside", b"x", "")],
        [("/tmp/hpcdeploy-outside", b"x", "")],
        [("output/../../outside", b"x", "")],
        [("output/link", b"", "../../outside")],
        [("output/link", b"", "/etc/passwd")],
        [("output/pipe", b"", "fifo")],
    ],
)
def test_what_leads_out_or_is_no_file_is_refused_and_nothing_is_left(
    entries: list[Entry], bring: Callable[[list[Entry]], Path], tmp_path: Path
) -> None:
    with pytest.raises(SchedulerError, match=r"leads out|no file, folder or link"):
        bring([("output/good", b"x", ""), *entries])
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["archive.tar"])
    assert not Path("/tmp/hpcdeploy-outside").exists()
