"""What comes home where not all may be read: the rest, and a word on what stayed. The lab's person is not root."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.staged_files import Delivery
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.shared import OWN


@pytest.mark.parametrize("patterns", [(), ("*",)])
def test_files_and_folders_that_may_not_be_read_are_named_and_the_others_come(
    patterns: tuple[str, ...], lab: Lab, cluster: Cluster, connections: Connections, tmp_path: Path
) -> None:
    cluster = replace(cluster, root=f"$SCRATCH/{OWN}/fetching")
    run = plan_run(Job(name="closed", image="i"), cluster, "slurm", Delivery(sha256="0" * 64), now=0)
    output = f"{lab.scratch}/{OWN}/fetching/runs/{run.id}/output"
    make = (
        f"mkdir -p {output}/closed {output}/../logs && cd {output} && echo x | tee good bad closed/x && chmod 0 bad closed"
    )
    assert inside(lab, ["bash", "-c", make], user=lab.user).returncode == 0
    done = fetch(run, tmp_path / "home", connections.to(cluster), patterns=patterns)
    assert [path.name for path in done.brought] == ["good"]
    closed, bad = done.notes
    assert closed.startswith("left out: ")
    assert "closed" in closed
    assert closed.endswith(": Permission denied")
    assert bad == "left out: output/bad, which is not readable on the cluster"
