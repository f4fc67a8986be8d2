"""A cluster that is a long way off: large files are uploaded in parallel, over several channels of a real sshd."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.ways import ways
from hpcdeploy.cluster import Cluster, TransportName
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.upload import upload
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Completed
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab


@pytest.mark.parametrize("speaker", ["paramiko", "openssh"])
def test_a_large_file_is_uploaded_in_parallel_and_is_whole(
    lab: Lab, cluster: Cluster, tmp_path: Path, speaker: TransportName, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(parallel_upload.LARGE + 1))
    sha256 = sha256_of(source)
    staged = StagedFile(
        sha256=sha256, size=parallel_upload.LARGE + 1, path=f"inputs/{sha256}", what="the data", source=str(source)
    )
    folder = f"{lab.scratch}/{cluster.root.removeprefix('$SCRATCH/')}/inputs"
    steps: list[int] = []
    with ways(lab, tmp_path) as (_, far):
        distant = replace(cluster, ssh_config=str(far.config), transport=speaker)
        with Connections(open_transport) as connections:
            far_session = connections.to(distant)
            transport = far_session.link.open()
            transport.run(["true"])
            assert transport.delay > parallel_upload.FAR
            commands: list[str] = []

            def counted(argv: Sequence[str], **named: Any) -> Completed:
                commands.append(argv[0])
                return run(argv, **named)

            run = transport.run
            with monkeypatch.context() as patched:
                patched.setattr(transport, "run", counted)
                parallel_upload.upload_in_parallel(staged, 0, far_session, lambda done, _size: steps.append(done))
            assert steps[-1] == staged.size
            assert commands == ["bash"] * parallel_upload.CHANNELS
            left = inside(lab, ["sh", "-c", f"stat -c %s {folder}/.{sha256}.records"], user=lab.user)
            assert int(left.stdout) == staged.size
            upload([{"sha256": sha256, "path": staged.path}], [staged], connections.to(distant))
    left = inside(lab, ["sh", "-c", f"cd {folder} && sha256sum {sha256} && ls -A | grep {sha256}"], user=lab.user)
    assert left.stdout.decode().splitlines() == [f"{sha256}  {sha256}", f".{sha256}.lock", sha256]
