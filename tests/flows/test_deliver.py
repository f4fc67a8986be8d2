"""Files that a login node needs and only this machine has: brought once, whole, and from where an earlier try stopped."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, SchedulerError, TransportError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress, ignore_output
from hpcdeploy.remote.answers import STREAM_SHELL
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.upload import upload
from hpcdeploy.remote.upload_stream import receiving
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport
from tests.disks import small_disk
from tests.sessions import AT_ONCE

CONTENT = bytes(range(256)) * 12_000


class Cuts(LocalTransport):
    """This machine, to which the first connections die when so many bytes of a parcel have passed."""

    def __init__(self, cuts: list[int]) -> None:
        super().__init__()
        self._cuts = cuts

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> Completed:
        assert not isinstance(stdin, bytes)
        cut = self._cuts.pop(0) if self._cuts else None

        def until_cut() -> Iterator[bytes]:
            pieces = iter(stdin)
            yield next(pieces)
            left = cut
            for piece in pieces:
                if left is None:
                    yield piece
                    continue
                yield piece[:left]
                left -= len(piece[:left])
                if not left:
                    return

        done = super().run(argv, stdin=until_cut(), on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout, limit=limit)
        if cut is not None:
            raise ConnectionLostError("the connection died")
        return done


class Shown:
    """What a person is shown of transfers: each with where it began, and where it ended."""

    def __init__(self) -> None:
        self.transfers: list[tuple[str, list[int]]] = []

    @contextmanager
    def carrying(self, what: str) -> Iterator[Progress]:
        steps: list[int] = []
        self.transfers.append((what, steps))
        yield lambda done, total: steps.append(done)


@pytest.fixture
def staged(tmp_path: Path) -> StagedFile:
    source = tmp_path / "model.sif"
    source.write_bytes(CONTENT)
    return StagedFile(
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        path="images/it's here.sif",
        what="the image 'model.sif'",
        source=str(source),
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(name="here", root=str(tmp_path / "the root"))


def place(staged: StagedFile, cluster: Cluster) -> Path:
    return Path(cluster.root) / staged.path


def part(staged: StagedFile, cluster: Cluster) -> Path:
    return place(staged, cluster).parent / f".{staged.sha256}.parcel"


def needed(staged: StagedFile, cluster: Cluster) -> list[dict[str, object]]:
    return [{"sha256": staged.sha256, "path": str(place(staged, cluster)), "have": 0}]


def bring(staged: StagedFile, cluster: Cluster, *, cuts: list[int] | None = None, report: Output = ignore_output) -> Shown:
    shown = Shown()
    left = list(cuts or [])
    with Connections(lambda _: Cuts(left), retry=AT_ONCE) as connections:
        upload(needed(staged, cluster), [staged], connections.to(cluster), report=report, carrying=shown.carrying)
    return shown


def test_a_parcel_comes_whole_and_is_for_its_owner_alone(staged: StagedFile, cluster: Cluster) -> None:
    shown = bring(staged, cluster)
    assert place(staged, cluster).read_bytes() == CONTENT
    assert place(staged, cluster).stat().st_mode & 0o777 == 0o600
    [(what, steps)] = shown.transfers
    assert what == "uploading the image 'model.sif'"
    assert (steps[0], steps[-1]) == (0, len(CONTENT))
    assert not part(staged, cluster).exists()


def test_a_root_on_a_full_disk_is_told_in_one_message_and_nothing_has_the_name(staged: StagedFile, cluster: Cluster) -> None:
    with small_disk(Path(cluster.root), "1m") as resize:
        with pytest.raises(SchedulerError, match=r"does not fit into .*make room there"):
            bring(staged, cluster)
        assert not place(staged, cluster).exists()
        resize("16m")
        bring(staged, cluster)
        assert place(staged, cluster).read_bytes() == CONTENT
        assert not part(staged, cluster).exists()


def test_what_is_there_already_is_not_sent_again(staged: StagedFile, cluster: Cluster) -> None:
    bring(staged, cluster)
    Path(staged.source).unlink()
    assert bring(staged, cluster).transfers[0][1] == [len(CONTENT)]


def test_a_transfer_that_is_cut_goes_on_from_there(staged: StagedFile, cluster: Cluster) -> None:
    said: list[bytes] = []
    shown = bring(staged, cluster, cuts=[1_000_000, 500_001], report=said.append)
    assert place(staged, cluster).read_bytes() == CONTENT
    steps = shown.transfers[0][1]
    assert [at for at in steps if at in (0, 1_000_000, 1_500_001)] == [0, 1_000_000, 1_500_001]
    assert b"".join(said).count(b"resuming") == 2


def test_it_is_tried_as_long_as_each_try_brings_something(staged: StagedFile, cluster: Cluster) -> None:
    bring(staged, cluster, cuts=[100_000] * 12)
    assert place(staged, cluster).read_bytes() == CONTENT


def test_a_connection_that_always_dies_ends_it_and_what_came_is_kept_for_the_next_call(
    staged: StagedFile, cluster: Cluster
) -> None:
    with pytest.raises(TransportError, match="was interrupted"):
        bring(staged, cluster, cuts=[1_000_000, *[0] * 9])
    assert part(staged, cluster).stat().st_size == 1_000_000
    assert bring(staged, cluster).transfers[0][1][0] == 1_000_000
    assert place(staged, cluster).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"x" * 1_000_000, b"x" * len(CONTENT), CONTENT + b"x"])
def test_wrong_bytes_of_an_earlier_try_are_thrown_away(staged: StagedFile, cluster: Cluster, left: bytes) -> None:
    part(staged, cluster).parent.mkdir(parents=True)
    part(staged, cluster).write_bytes(left)
    bring(staged, cluster)
    assert place(staged, cluster).read_bytes() == CONTENT


def test_a_file_of_another_size_that_bears_the_name_already_is_replaced(staged: StagedFile, cluster: Cluster) -> None:
    place(staged, cluster).parent.mkdir(parents=True)
    place(staged, cluster).write_bytes(CONTENT[:1000])
    bring(staged, cluster)
    assert place(staged, cluster).read_bytes() == CONTENT


@pytest.mark.parametrize("changed", [CONTENT[:-1] + b"x", CONTENT[:-1], b"x" + CONTENT[1:] + b"more"])
def test_a_source_that_has_changed_is_said_and_gets_no_name(staged: StagedFile, cluster: Cluster, changed: bytes) -> None:
    Path(staged.source).write_bytes(changed)
    with pytest.raises(ConfigError, match="has changed since the job was planned"):
        bring(staged, cluster)
    assert not place(staged, cluster).exists()


def test_nothing_is_sent_of_another_file_in_the_place_of_a_resumed_source(
    staged: StagedFile, cluster: Cluster, tmp_path: Path
) -> None:
    """A project that is updated between a submission and its resumption may hold a link there."""
    (tmp_path / "private").write_bytes(b"k" * staged.size)
    Path(staged.source).unlink()
    Path(staged.source).symlink_to(tmp_path / "private")
    asked = needed(staged, cluster)
    with Connections(lambda _: LocalTransport(), retry=AT_ONCE) as connections:
        with pytest.raises(ConfigError, match="has changed since the job was planned"):
            upload(asked, [staged], connections.to(cluster), check=True)
        assert not place(staged, cluster).parent.exists()
        Path(staged.source).unlink()
        Path(staged.source).write_bytes(CONTENT)
        upload(asked, [staged], connections.to(cluster), check=True)
    assert place(staged, cluster).read_bytes() == CONTENT


def test_a_source_that_is_gone_is_said(staged: StagedFile, cluster: Cluster) -> None:
    Path(staged.source).unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        bring(staged, cluster)


def test_a_folder_that_cannot_be_made_is_said(staged: StagedFile, cluster: Cluster) -> None:
    Path(cluster.root).write_text("a file")
    with pytest.raises(SchedulerError, match="set root in the cluster"):
        bring(staged, cluster)


def test_a_disk_that_is_full_is_said_at_once_and_what_came_is_kept(
    staged: StagedFile, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "trap '' XFSZ; ulimit -f 1000; exec bash -s"  # in KiB (bash(1)); what is longer cannot be written (setrlimit(2))
    monkeypatch.setattr("hpcdeploy.remote.upload.STREAM_SHELL", ("bash", "-c", small))
    said: list[bytes] = []
    with pytest.raises(SchedulerError, match=r"does not fit into .*make room there .*; 1024000 of 3072000 bytes are there"):
        bring(staged, cluster, report=said.append)
    assert b"resuming" not in b"".join(said)
    monkeypatch.setattr("hpcdeploy.remote.upload.STREAM_SHELL", STREAM_SHELL)
    assert bring(staged, cluster).transfers[0][1][0] == 1_024_000
    assert place(staged, cluster).read_bytes() == CONTENT


def test_what_nobody_knows_of_is_refused(staged: StagedFile, cluster: Cluster) -> None:
    asked = [{"sha256": "0" * 64, "path": "/there", "have": 0}]
    with (
        Connections(lambda _: LocalTransport(), retry=AT_ONCE) as connections,
        pytest.raises(SchedulerError, match="requested /there"),
    ):
        upload(asked, [staged], connections.to(cluster))


def test_a_second_client_waits_for_the_first_and_sends_nothing(staged: StagedFile, cluster: Cluster) -> None:
    waiting = threading.Event()
    shown: list[Shown] = []

    begun = threading.Event()

    def says(piece: bytes) -> None:
        if b"is in progress; waiting for it" in piece:
            waiting.set()

    def asks_when_the_first_has_begun() -> None:
        assert begun.wait(60)
        shown.append(bring(staged, cluster, report=says))

    def waits_in_the_middle(done: int, total: int) -> None:
        begun.set()
        assert not 0 < done < total or waiting.wait(60)

    @contextmanager
    def carrying(_what: str) -> Iterator[Progress]:
        yield waits_in_the_middle

    second = threading.Thread(target=asks_when_the_first_has_begun)
    second.start()
    with Connections(lambda _: LocalTransport(), retry=AT_ONCE) as connections:
        upload(needed(staged, cluster), [staged], connections.to(cluster), carrying=carrying)
    second.join(60)
    assert shown[0].transfers[0][1] == [len(CONTENT)]
    assert place(staged, cluster).read_bytes() == CONTENT


def test_a_client_that_says_nothing_for_long_is_given_up_and_what_came_is_kept(staged: StagedFile, cluster: Cluster) -> None:
    ended = threading.Event()

    def vanishes() -> Iterator[bytes]:
        yield receiving(staged, cluster, silence_timeout=1).encode()
        yield CONTENT[:100_000]
        ended.wait(60)

    done = LocalTransport().run(STREAM_SHELL, stdin=vanishes(), on_stderr=lambda _: ended.set())
    assert done.exit_code == 15
    assert part(staged, cluster).read_bytes() == CONTENT[:100_000]


@pytest.mark.parametrize("part_of_it", [0.1, 0.5, 0.9, 0.99])
def test_a_receiving_script_that_was_cut_on_its_way_does_nothing(
    staged: StagedFile, cluster: Cluster, part_of_it: float
) -> None:
    text = receiving(staged, cluster)
    LocalTransport().run(STREAM_SHELL, stdin=text[: int(len(text) * part_of_it)].encode())
    assert not Path(cluster.root).exists()


def test_bytes_that_nobody_takes_are_never_run_as_commands(staged: StagedFile, cluster: Cluster, tmp_path: Path) -> None:
    bring(staged, cluster)
    evil = f"touch '{tmp_path}/run'\n".encode()
    done = LocalTransport().run(STREAM_SHELL, stdin=receiving(staged, cluster).encode() + evil)
    assert done.exit_code == 0
    assert not (tmp_path / "run").exists()
