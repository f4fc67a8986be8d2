"""A large file over a long way is uploaded in parallel, and is one file in the end whatever happened on the way."""

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, TransportError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import ignore_output
from hpcdeploy.remote import parallel_upload, records
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.parallel_upload import receiving_records
from hpcdeploy.remote.upload import upload
from hpcdeploy.remote.upload_stream import UploadStream, receiving
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport
from tests.sessions import AT_ONCE, session

CONTENT = hashlib.sha256(b"seed").digest() * 30_001
RECORD = 20_000
FRAME = 44
"""Bytes of a record before its content."""
ALL = len(CONTENT) + FRAME * -(-len(CONTENT) // RECORD)
"""Bytes that are sent of the whole file, as records."""
ON_THE_WAY = parallel_upload.CHANNELS * (RECORD + FRAME)


class Far(LocalTransport):
    """This machine, as if it were far away; counts what travels, and lets a channel die within its third record.

    Until then, the others wait, so that each channel carries something. If the network is then `gone` for so many commands,
    they die too.
    """

    delay = 1.0

    def __init__(self, dies: int | None = None, *, refuses: bool = False, gone: int = 0) -> None:
        super().__init__()
        self.sent: list[int] = []
        self._dies = dies
        self._gone = gone
        self._refuses = refuses
        self._counting = threading.Lock()
        self._died = threading.Event()
        self._first = threading.Event()

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
        if self._died.is_set() and self._gone:
            self._gone -= 1
            raise TransportError("no network")
        if isinstance(stdin, bytes):
            return super().run(argv, stdin=stdin)
        pieces = iter(stdin)
        script = next(pieces)
        if b"\nis_first=no\n" in script:
            assert self._first.wait(30)
        with self._counting:
            number = len(self.sent)
            self.sent.append(0)
        self._first.set()
        if self._refuses and 0 < number < parallel_upload.CHANNELS:
            raise TransportError("no more sessions on this connection")

        def counted() -> Iterator[bytes]:
            yield script
            for count, piece in enumerate(pieces):
                if number == self._dies and count == 2:
                    self.sent[number] += len(piece) // 2
                    yield piece[: len(piece) // 2]
                    self._died.set()
                    return
                self.sent[number] += len(piece)
                yield piece
                if self._dies is not None and number != self._dies < parallel_upload.CHANNELS:
                    self._died.wait(30)
                    if self._gone:
                        return

        done = super().run(argv, stdin=counted(), on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout, limit=limit)
        if number == self._dies or (self._gone and self._died.is_set()):
            raise ConnectionLostError("the channel died")
        return done


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_upload, "LARGE", 100_000)
    monkeypatch.setattr(records, "SHORTEST", RECORD)


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


def bring(staged: StagedFile, cluster: Cluster, far: Far, *, have: int = 0, report: Output = ignore_output) -> None:
    with Connections(lambda _: far, retry=AT_ONCE) as connections:
        need = {"sha256": staged.sha256, "path": staged.path, "have": have}
        upload([need], [staged], connections.to(cluster), report=report)
    assert (images(cluster) / "big one.sif").read_bytes() == CONTENT
    assert sorted(path.name for path in images(cluster).iterdir()) == [f".{staged.sha256}.lock", "big one.sif"]


def test_every_channel_carries_records_and_nothing_goes_twice(staged: StagedFile, cluster: Cluster) -> None:
    far = Far()
    bring(staged, cluster, far)
    assert len(far.sent) == parallel_upload.CHANNELS + 1
    assert sum(far.sent) == ALL
    assert far.sent[0] > 0
    assert far.sent[-1] == 0


def test_the_progress_of_all_channels_is_one(staged: StagedFile, cluster: Cluster) -> None:
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


@pytest.mark.parametrize("dies", range(parallel_upload.CHANNELS + 1))
def test_a_channel_that_dies_goes_on_where_it_died_and_nothing_of_the_others_goes_twice(
    staged: StagedFile, cluster: Cluster, dies: int
) -> None:
    far = Far(dies)
    bring(staged, cluster, far)
    assert far._died.is_set() == (dies < parallel_upload.CHANNELS)
    assert ALL <= sum(far.sent) <= ALL + ON_THE_WAY


def test_a_connection_that_died_is_opened_again_once_the_network_is_there_again(
    staged: StagedFile, cluster: Cluster
) -> None:
    far = Far(dies=0, gone=2)
    bring(staged, cluster, far)
    assert ALL <= sum(far.sent) <= ALL + ON_THE_WAY


def test_a_script_that_never_answered_had_nothing_and_nothing_else_is_shown(staged: StagedFile) -> None:
    shown: list[int] = []
    sending = UploadStream(b"the script", staged, lambda done, _size: shown.append(done))
    pieces = sending.pieces()
    assert next(pieces) == b"the script"
    sending.end()
    assert list(pieces) == []
    assert (sending.answered, sending.present, shown) == (False, 0, [])


def test_channels_that_a_site_refuses_are_done_without(staged: StagedFile, cluster: Cluster) -> None:
    far = Far(refuses=True)
    bring(staged, cluster, far)
    assert far.sent == [ALL, 0, 0, 0, 0]


def test_a_login_node_without_python_gets_a_single_stream_and_nothing_is_said(
    staged: StagedFile, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if "python" not in program.name and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    assert shutil.which("python3", path=str(programs)) is None
    for module in ("upload", "parallel_upload"):
        monkeypatch.setattr(f"hpcdeploy.remote.{module}.STREAM_SHELL", ("env", f"PATH={programs}", "bash", "-s"))
    far = Far()
    said: list[bytes] = []
    bring(staged, cluster, far, report=said.append)
    assert far.sent == [*[0] * parallel_upload.CHANNELS, len(CONTENT)]
    assert said == []


def interrupted(cluster: Cluster, staged: StagedFile, *spans: range) -> None:
    """Leave what a parallel upload leaves that was interrupted when it had these ranges."""
    images(cluster).mkdir(parents=True)
    sparse = bytearray(spans[-1].stop)
    for span in spans:
        sparse[span.start : span.stop] = CONTENT[span.start : span.stop]
    (images(cluster) / f".{staged.sha256}.records").write_bytes(sparse)
    lines = "".join(f"\n{span.start} {len(span)} ;" for span in reversed(spans))
    (images(cluster) / f".{staged.sha256}.ranges").write_text(lines)


def test_a_parallel_upload_goes_on_where_it_stopped(staged: StagedFile, cluster: Cluster) -> None:
    interrupted(cluster, staged, range(1000), range(400_000, 401_000), range(700_000, len(CONTENT)))
    far = Far()
    bring(staged, cluster, far)
    missing = 399_000 + 299_000
    assert sum(far.sent) == missing + FRAME * (20 + 15)


@pytest.mark.parametrize("delay", [1.0, 0.001], ids=["far", "near"])
def test_what_a_single_stream_brought_is_kept(
    staged: StagedFile, cluster: Cluster, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Far, "delay", delay)
    images(cluster).mkdir(parents=True)
    (images(cluster) / f".{staged.sha256}.parcel").write_bytes(CONTENT[:240_000])
    far = Far()
    bring(staged, cluster, far, have=240_000)
    rest = len(CONTENT) - 240_000
    assert sum(far.sent) == (rest + FRAME * -(-rest // RECORD) if delay == 1.0 else rest)


def test_a_single_stream_continues_a_parallel_upload_at_its_first_gap(
    staged: StagedFile, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Far, "delay", 0.001)
    interrupted(cluster, staged, range(1000), range(1000, 300_000), range(400_000, 401_000))
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [len(CONTENT) - 300_000]


@pytest.mark.parametrize("journal", [None, b"", b"\n0 100", b"\n100 100 ;", b"\nx 0 ;\n0 1 ; ;"])
def test_records_that_no_journal_lists_are_sent_again(
    staged: StagedFile, cluster: Cluster, journal: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Far, "delay", 0.001)
    interrupted(cluster, staged, range(1000))
    ranges = images(cluster) / f".{staged.sha256}.ranges"
    ranges.unlink() if journal is None else ranges.write_bytes(journal)
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [len(CONTENT)]


def test_a_complete_parallel_upload_is_not_sent_again(staged: StagedFile, cluster: Cluster) -> None:
    interrupted(cluster, staged, range(len(CONTENT)))
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [0] * (parallel_upload.CHANNELS + 1)


def test_the_file_is_completed_when_the_last_writer_has_ended(staged: StagedFile, cluster: Cluster) -> None:
    interrupted(cluster, staged, range(len(CONTENT)))
    with (images(cluster) / f".{staged.sha256}.records").open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        done = threading.Thread(target=bring, args=(staged, cluster, Far()))
        done.start()
        done.join(1)
        assert done.is_alive()
        assert not (images(cluster) / "big one.sif").exists()
    done.join()


def test_chunks_of_an_earlier_version_are_removed(staged: StagedFile, cluster: Cluster) -> None:
    images(cluster).mkdir(parents=True)
    for name in (f".{staged.sha256}.1000.parcel", f".{staged.sha256}.1000.lock"):
        (images(cluster) / name).write_bytes(b"of a lane")
    bring(staged, cluster, Far())


def test_wrong_bytes_of_an_earlier_call_are_thrown_away(staged: StagedFile, cluster: Cluster) -> None:
    interrupted(cluster, staged, range(400_000))
    (images(cluster) / f".{staged.sha256}.records").write_bytes(b"wrong" * 80_000)
    bring(staged, cluster, Far())


def test_a_source_that_has_changed_is_said_and_gets_no_name(staged: StagedFile, cluster: Cluster) -> None:
    Path(staged.source).write_bytes(CONTENT[::-1])
    with pytest.raises(ConfigError, match="has changed since the job was planned"):
        bring(staged, cluster, Far())
    assert not (images(cluster) / "big one.sif").exists()


def test_a_second_client_waits_for_the_first(staged: StagedFile, cluster: Cluster) -> None:
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
    while not far.sent:
        pass
    go.set()
    first.join()
    second.join()
    assert far.sent == [0] * (parallel_upload.CHANNELS + 1)


def test_channels_wait_for_those_of_a_connection_whose_death_is_not_known_over_there(
    staged: StagedFile, cluster: Cluster
) -> None:
    images(cluster).mkdir(parents=True)
    far = Far()
    bringing = threading.Thread(target=bring, args=(staged, cluster, far))
    with (images(cluster) / f".{staged.sha256}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bringing.start()
        bringing.join(1)
        assert far.sent == [0] * parallel_upload.CHANNELS
    bringing.join()
    assert len(far.sent) == parallel_upload.CHANNELS + 1
    assert sum(far.sent) == ALL


def test_what_another_client_has_brought_meanwhile_is_not_sent(staged: StagedFile, cluster: Cluster) -> None:
    bring(staged, cluster, Far())
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [0] * (parallel_upload.CHANNELS + 1)


def test_a_client_that_falls_silent_is_given_up(staged: StagedFile, cluster: Cluster) -> None:
    go = threading.Event()

    def silently() -> Iterator[bytes]:
        yield receiving_records(staged, cluster, is_first=True, silence_timeout=1).encode()
        yield records.Record(start=500, data=CONTENT[500:1000]).packed()
        assert go.wait(30)

    done = LocalTransport().run(["bash", "-l", "-s"], stdin=silently(), on_stderr=lambda _: go.set())
    assert done.exit_code == 15
    assert (images(cluster) / f".{staged.sha256}.records").read_bytes() == bytes(500) + CONTENT[500:1000]


def test_bytes_that_nobody_takes_are_never_run_as_commands(staged: StagedFile, cluster: Cluster, tmp_path: Path) -> None:
    bring(staged, cluster, Far())
    evil = f"touch '{tmp_path}/run'\n".encode()
    for is_first in (True, False):
        script = receiving_records(staged, cluster, is_first=is_first).encode()
        assert LocalTransport().run(["bash", "-l", "-s"], stdin=script + evil).exit_code == 15
    assert not (tmp_path / "run").exists()


def test_a_malformed_answer_is_no_reason_to_give_up(
    staged: StagedFile, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    beyond = f"printf 'HPCDEPLOY {{\"have\": [[0, {len(CONTENT) + 1}]]}}\\n'; exec cat >/dev/null"
    monkeypatch.setattr("hpcdeploy.remote.parallel_upload.STREAM_SHELL", ("bash", "-c", beyond))
    far = Far()
    bring(staged, cluster, far)
    assert far.sent == [*[0] * parallel_upload.CHANNELS, len(CONTENT)]
