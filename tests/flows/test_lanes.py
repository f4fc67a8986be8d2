"""A large file over a long way goes in several lanes at once, and is one file in the end whatever happened on the way."""

import fcntl
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, TransportError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.upload import upload
from hpcdeploy.remote.upload_stream import UploadStream, receiving, receiving_lane
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Completed, Input, Output, ignore_output
from hpcdeploy.transport.local import LocalTransport
from tests.sessions import AT_ONCE, session

CONTENT = hashlib.sha256(b"seed").digest() * 30_001
QUARTER = -(-len(CONTENT) // parallel_upload.CHUNKS)


class Far(LocalTransport):
    """This machine, as if it were far away; counts what travels, and lets a lane die where it is told to.

    After the lanes the network is `gone` for so many commands.
    """

    delay = 1.0

    def __init__(self, dies: int | None = None, *, refuses: bool = False, gone: int = 0) -> None:
        self.sent: list[int] = []
        self._dies = dies
        self._gone = gone
        self._refuses = refuses
        self._lock = threading.Lock()

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
        if len(self.sent) >= parallel_upload.CHUNKS and self._gone:
            self._gone -= 1
            raise TransportError("no network")
        if isinstance(stdin, bytes):
            return super().run(argv, stdin=stdin)
        with self._lock:
            number = len(self.sent)
            self.sent.append(0)
        if self._refuses and 0 < number < parallel_upload.CHUNKS:
            raise TransportError("no more sessions on this connection")

        def counted() -> Iterator[bytes]:
            pieces = iter(stdin)
            yield next(pieces)
            for piece in pieces:
                self.sent[number] += len(piece)
                if number == self._dies:
                    yield piece[: len(piece) // 2]
                    return
                yield piece

        done = super().run(argv, stdin=counted(), on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout, limit=limit)
        if number == self._dies:
            raise ConnectionLostError("the lane died")
        return done


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_upload, "LARGE", 100_000)


@pytest.fixture
def staged(tmp_path: Path) -> StagedFile:
    source = tmp_path / "big.sif"
    source.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return StagedFile(sha256=sha256, size=len(CONTENT), path="images/big one.sif", what="the file", source=str(source))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(name="far", root=str(tmp_path / "the root"))


def images(cluster: Cluster) -> Path:
    return Path(cluster.root) / "images"


def bring(staged: StagedFile, cluster: Cluster, far: Far, *, have: int = 0) -> None:
    with Connections(lambda _: far, retry=AT_ONCE) as connections:
        upload([{"sha256": staged.sha256, "path": staged.path, "have": have}], [staged], connections.to(cluster))
    assert (images(cluster) / "big one.sif").read_bytes() == CONTENT
    assert sorted(path.name for path in images(cluster).iterdir()) == [f".{staged.sha256}.lock", "big one.sif"]


def test_every_lane_carries_its_stretch_and_nothing_goes_twice(staged: StagedFile, cluster: Cluster) -> None:
    far = Far()
    bring(staged, cluster, far)
    assert sorted(far.sent[: parallel_upload.CHUNKS]) == sorted([QUARTER] * 3 + [len(CONTENT) - 3 * QUARTER])
    assert far.sent[parallel_upload.CHUNKS :] == [0]


def test_the_progress_of_all_lanes_is_one(staged: StagedFile, cluster: Cluster) -> None:
    steps: list[tuple[int, int]] = []
    parallel_upload.upload_in_parallel(staged, 0, session(cluster, Far()), lambda done, size: steps.append((done, size)))
    assert steps == sorted(steps)
    assert steps[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("near_or_small", ["near", "small"])
def test_what_is_small_or_near_goes_in_one(
    staged: StagedFile, cluster: Cluster, near_or_small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Far, "delay", 0.001 if near_or_small == "near" else 1.0)
    monkeypatch.setattr(parallel_upload, "LARGE", 100_000 if near_or_small == "near" else len(CONTENT) + 1)
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [len(CONTENT)]


@pytest.mark.parametrize("dies", range(parallel_upload.CHUNKS + 1))
def test_a_lane_that_dies_goes_on_where_it_died_and_nothing_of_the_others_goes_twice(
    staged: StagedFile, cluster: Cluster, dies: int
) -> None:
    far = Far(dies)
    bring(staged, cluster, far)
    assert sum(far.sent) <= len(CONTENT) + QUARTER // 2 + 1


def test_lanes_that_died_are_tried_again_once_the_network_is_there_again(staged: StagedFile, cluster: Cluster) -> None:
    far = Far(dies=1, gone=2)
    bring(staged, cluster, far)
    assert sum(far.sent) <= len(CONTENT) + QUARTER // 2 + 1


def test_a_script_that_never_answered_had_nothing_and_nothing_else_is_shown(staged: StagedFile) -> None:
    shown: list[int] = []
    sending = UploadStream(b"the script", staged, range(1000), lambda done, _size: shown.append(done))
    pieces = sending.pieces()
    assert next(pieces) == b"the script"
    sending.end()
    assert list(pieces) == []
    assert (sending.answered, sending.began, shown) == (False, 0, [])


def test_lanes_that_a_site_refuses_are_done_without(staged: StagedFile, cluster: Cluster) -> None:
    bring(staged, cluster, Far(refuses=True))


def test_lanes_go_on_where_they_stopped(staged: StagedFile, cluster: Cluster) -> None:
    images(cluster).mkdir(parents=True)
    for start in (0, QUARTER, 2 * QUARTER, 3 * QUARTER):
        name = f".{staged.sha256}.{start}.parcel" if start else f".{staged.sha256}.parcel"
        (images(cluster) / name).write_bytes(CONTENT[start : start + 1000])
    far = Far()
    bring(staged, cluster, far)
    assert sum(far.sent) == len(CONTENT) - 4000


@pytest.mark.parametrize("told", [True, False], ids=["and that is known", "while another brought it"])
def test_what_came_further_than_a_stretch_is_kept(staged: StagedFile, cluster: Cluster, told: bool) -> None:
    images(cluster).mkdir(parents=True)
    (images(cluster) / f".{staged.sha256}.parcel").write_bytes(CONTENT[: QUARTER + 1000])
    far = Far()
    bring(staged, cluster, far, have=QUARTER + 1000 if told else 0)
    if told:
        assert far.sent == [len(CONTENT) - QUARTER - 1000]
    else:
        assert sum(far.sent) == len(CONTENT) - QUARTER


def test_stretches_whose_putting_together_was_cut_off_are_put_together_and_not_sent_again(
    staged: StagedFile, cluster: Cluster
) -> None:
    images(cluster).mkdir(parents=True)
    (images(cluster) / f".{staged.sha256}.parcel").write_bytes(CONTENT[: QUARTER + 1000])
    for start in range(QUARTER, len(CONTENT), QUARTER):
        (images(cluster) / f".{staged.sha256}.{start}.parcel").write_bytes(CONTENT[start : start + QUARTER])
    far = Far()
    bring(staged, cluster, far, have=QUARTER + 1000)
    assert far.sent == [0]


def test_stretches_of_an_earlier_call_that_were_cut_otherwise_do_no_harm(staged: StagedFile, cluster: Cluster) -> None:
    images(cluster).mkdir(parents=True)
    (images(cluster) / f".{staged.sha256}.1000.parcel").write_bytes(b"of another cut")
    bring(staged, cluster, Far())


def test_wrong_bytes_of_an_earlier_call_are_thrown_away(staged: StagedFile, cluster: Cluster) -> None:
    images(cluster).mkdir(parents=True)
    (images(cluster) / f".{staged.sha256}.{QUARTER}.parcel").write_bytes(b"wrong" * 100)
    bring(staged, cluster, Far())


def test_a_source_that_has_changed_is_said_and_gets_no_name(staged: StagedFile, cluster: Cluster) -> None:
    Path(staged.source).write_bytes(CONTENT[::-1])
    with pytest.raises(ConfigError, match="has changed since the job was planned"):
        bring(staged, cluster, Far())
    assert not (images(cluster) / "big one.sif").exists()


def test_a_second_client_leaves_the_lanes_to_the_first_and_waits(staged: StagedFile, cluster: Cluster) -> None:
    begun, go = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield receiving(staged, cluster).encode()
        begun.set()
        assert go.wait(30)
        yield CONTENT

    first = threading.Thread(target=lambda: LocalTransport().run(["bash", "-l", "-s"], stdin=slowly()))
    first.start()
    assert begun.wait(30)
    lock = images(cluster) / f".{staged.sha256}.lock"
    while not lock.exists():
        pass
    far = Far()
    second = threading.Thread(target=bring, args=(staged, cluster, far))
    second.start()
    while len(far.sent) <= parallel_upload.CHUNKS:
        pass
    go.set()
    first.join()
    second.join()
    assert far.sent == [0] * (parallel_upload.CHUNKS + 2)


def test_lanes_wait_for_those_of_a_connection_whose_death_is_not_known_over_there(
    staged: StagedFile, cluster: Cluster
) -> None:
    images(cluster).mkdir(parents=True)
    far = Far()
    bringing = threading.Thread(target=bring, args=(staged, cluster, far))
    with (images(cluster) / f".{staged.sha256}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bringing.start()
        while len(far.sent) <= parallel_upload.CHUNKS:  # all were refused, and the first has come again
            time.sleep(0.01)
    bringing.join()
    assert far.sent[: parallel_upload.CHUNKS] == [0] * parallel_upload.CHUNKS
    assert far.sent[-1] == 0
    assert sum(far.sent) == len(CONTENT)


def test_what_another_client_has_brought_meanwhile_is_not_sent(staged: StagedFile, cluster: Cluster) -> None:
    bring(staged, cluster, Far())
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [0] * (parallel_upload.CHUNKS + 2)


def test_a_client_that_falls_silent_is_given_up(staged: StagedFile, cluster: Cluster) -> None:
    go = threading.Event()

    def silently() -> Iterator[bytes]:
        yield receiving_lane(staged, range(1000), cluster, patience=1).encode()
        yield CONTENT[:500]
        assert go.wait(30)

    done = LocalTransport().run(["bash", "-l", "-s"], stdin=silently(), on_stderr=lambda _: go.set())
    assert done.exit_code == 15
    assert (images(cluster) / f".{staged.sha256}.parcel").read_bytes() == CONTENT[:500]
