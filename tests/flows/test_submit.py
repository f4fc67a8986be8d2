"""What is believed of a submission whose first call was lost, whatever comes behind it. The login node is this machine."""

import hashlib
import json
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, HpcdeployError, SchedulerError, UncertainSubmissionError
from hpcdeploy.flows import submit as flow
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import ignore_output
from hpcdeploy.remote.connections import Connections
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of
from tests.sessions import AT_ONCE

RUN = run_of(PLAIN)


class Scripted(LocalTransport):
    """This machine; calls of the submitting script end as they are told to, what is brought is truly received."""

    def __init__(self, ends: Sequence[Completed | None]) -> None:
        super().__init__()
        self.ends = list(ends)
        self.asked: list[Sequence[str]] = []

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
        if "bring" not in argv:
            return super().run(argv, stdin=stdin, on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout, limit=limit)
        self.asked.append(argv)
        end = self.ends.pop(0)
        if end is None:
            raise ConnectionLostError("the connection died")
        return end


def missing_file(folder: Path) -> tuple[StagedFile, Completed]:
    """Give a file to upload, and the script's answer that the cluster lacks it."""
    source = folder / "data"
    source.write_bytes(b"data")
    sha256 = hashlib.sha256(b"data").hexdigest()
    staged = StagedFile(sha256=sha256, size=4, path=f"inputs/{sha256}", what="the data", source=str(source))
    needs = {"needs": [{"sha256": sha256, "path": f"{folder}/root/inputs/{sha256}", "have": 0}]}
    return staged, Completed(exit_code=14, stdout=f"HPCDEPLOY {json.dumps(needs)}\n".encode(), stderr=b"")


@pytest.mark.parametrize(
    ("first", "error"), [([], SchedulerError), ([None], UncertainSubmissionError)], ids=["never lost", "lost at first"]
)
@pytest.mark.parametrize("last", ["refused", "still missing"])
def test_a_no_that_comes_after_files_were_brought_is_believed_only_if_no_call_was_lost_before(
    first: list[None], error: type[HpcdeployError], last: str, tmp_path: Path
) -> None:
    staged, missing = missing_file(tmp_path)
    refused = Completed(exit_code=12, stdout=b"", stderr=b"error: slurm refused the job\n")
    login_node = Scripted([*first, missing, *([refused] if last == "refused" else [missing] * 4)])
    cluster, store = Cluster(name="hpc", root=f"{tmp_path}/root"), Store(tmp_path / "runs.db")
    with Connections(lambda _: login_node, retry=AT_ONCE) as connections, pytest.raises(error):
        flow.submit(RUN, "script", connections.to(cluster), store, uploads=(staged,))
    assert store.knows(RUN.id) == bool(first)
    assert all("again" in argv for argv in login_node.asked[1:]) == bool(first)


@pytest.mark.parametrize("uploads", [1, 4])
def test_the_script_runs_again_after_every_upload_including_the_last_one(uploads: int, tmp_path: Path) -> None:
    staged, missing = missing_file(tmp_path)
    answer = json.dumps({"run": RUN.id, "job_id": "17", "already": False, "part": 0, "folder": "/there"})
    done = Completed(exit_code=0, stdout=f"HPCDEPLOY {answer}\n".encode(), stderr=b"")
    cluster, store = Cluster(name="hpc", root=f"{tmp_path}/root"), Store(tmp_path / "runs.db")
    with Connections(lambda _: Scripted([missing] * uploads + [done]), retry=AT_ONCE) as connections:
        submitted = flow.submit(RUN, "script", connections.to(cluster), store, uploads=(staged,))
    assert submitted.run.job_id == "17"


def test_a_job_that_could_not_be_noted_here_is_told_and_noted_by_resume(tmp_path: Path) -> None:
    answer = json.dumps({"run": RUN.id, "job_id": "17", "already": False, "part": 0, "folder": "/there"})
    done = Completed(exit_code=0, stdout=f"HPCDEPLOY {answer}\n".encode(), stderr=b"")
    cluster, store = Cluster(name="hpc", root=f"{tmp_path}/root"), Store(tmp_path / "runs.db")

    class Full(Scripted):
        def run(self, argv: Sequence[str], **_words: Any) -> Completed:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            return done

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        told = f"submitted as job 17, but .* --resume {RUN.id}"
        with Connections(lambda _: Full([])) as connections, pytest.raises(ConfigError, match=told):
            flow.submit(RUN, "script", connections.to(cluster), store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.find([RUN.id])[0].run.job_id == ""
    with Connections(lambda _: Scripted([done])) as connections:
        flow.resume(RUN, "script", connections.to(cluster), store)
    assert store.find([RUN.id])[0].run.job_id == "17"
