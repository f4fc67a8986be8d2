"""A cluster that is a long way off: large files go in several lanes, each a channel of a real sshd."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ways import ways
from hpcdeploy.cluster import Cluster, TransportName
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.upload import upload
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab


@pytest.mark.parametrize("speaker", ["paramiko", "openssh"])
def test_a_large_file_is_brought_in_lanes_and_is_whole(
    lab: Lab, cluster: Cluster, tmp_path: Path, speaker: TransportName
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
            parallel_upload.upload_in_parallel(staged, 0, far_session, lambda done, _size: steps.append(done))
            assert steps[-1] == staged.size
            stretches = inside(lab, ["sh", "-c", f"ls -A {folder} | grep -c '^.{sha256}.*parcel$'"], user=lab.user)
            assert int(stretches.stdout) == parallel_upload.CHUNKS
            upload([{"sha256": sha256, "path": staged.path}], [staged], connections.to(distant))
    left = inside(lab, ["sh", "-c", f"cd {folder} && sha256sum {sha256} && ls -A | grep {sha256}"], user=lab.user)
    assert left.stdout.decode().splitlines() == [f"{sha256}  {sha256}", f".{sha256}.lock", sha256]
