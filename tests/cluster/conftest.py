"""An image in the lab's registry, the lab as a cluster, and a record of runs that is thrown away."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import load_project
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.remote.connections import Connections
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.releases import UNSTABLE, release_of
from hpcdeploy_lab.state import Lab
from tests.cluster.condor_pool import pool
from tests.cluster.no_container import DELIVERY, runs_containers, without_container
from tests.shared import OWN, SHARED, once

ROOT = f"{OWN}/cluster"


def image_file(lab: Lab) -> str:
    return f"{lab.scratch}/{SHARED}/test.sif"


@pytest.fixture(scope="session")
def published(lab: Lab) -> PublishedImage:
    """Build an image with Python in it from the lab's base image, and push it; once for all workers."""
    return once("published", lambda: publish(lab))


def publish(lab: Lab) -> PublishedImage:
    made = inside(
        lab,
        ["apptainer", "build", image_file(lab), f"docker://{lab.registry}/prefix-dev/pixi:noble"],
        user=lab.user,
        environment={"APPTAINER_NOHTTPS": "1", "APPTAINER_CACHEDIR": f"{lab.scratch}/{SHARED}/cache"},
    )
    assert made.returncode == 0, made.stderr.decode()
    path = lab.seen(image_file(lab))
    return registry_of(f"{lab.registry}/tests/cluster").push(
        path, sha256=sha256_of(path), created="2026-01-01T00:00:00Z", tags=("latest",)
    )


@pytest.fixture
def delivery(lab: Lab, request: pytest.FixtureRequest) -> Delivery:
    """Give an image for jobs; on a lab without Apptainer one that nothing opens (`tests.cluster.no_container`)."""
    if not runs_containers(lab):
        return DELIVERY
    published: PublishedImage = request.getfixturevalue("published")
    return Delivery(sha256=published.sha256, reference=published.reference, size=published.size, plain_http=True)


@pytest.fixture
def cluster(lab: Lab, tmp_path: Path) -> Cluster:
    """Give the lab as the settings describe it, found by its own file and nothing else; its root is these tests' own.

    On a lab without Apptainer, jobs run without a container.
    """
    found = replace(load_project(tmp_path, optional=True).clusters["lab"], root=f"$SCRATCH/{ROOT}")
    return found if runs_containers(lab) else without_container(found, lab)


@pytest.fixture(scope="session")
def other_pool(lab: Lab) -> Iterator[str]:
    """Run a second HTCondor pool; give the shell line after which HTCondor's commands speak to it."""
    with pool(lab, f"{lab.scratch}/{OWN}/pool") as line:
        yield line


@pytest.fixture
def site(other_pool: str, cluster: Cluster) -> Cluster:
    """Give the second pool as a cluster."""
    return replace(cluster, setup=(other_pool,), schedulers=("htcondor",))


@pytest.fixture(scope="session")
def pmix(lab: Lab) -> None:
    """Skip the test where the lab's Slurm is from Debian's unstable suite, and built without PMIx, as 26.05.5-1 is.

    No other test is skipped anywhere, and no stable suite's Slurm lacks PMIx.
    """
    listed = inside(lab, ["srun", "--mpi=list"], user=lab.user)
    found = (listed.stdout + listed.stderr).decode()
    if release_of(lab.slurm).source == UNSTABLE and "pmix" not in found:
        pytest.skip(f"Slurm {lab.slurm} is built without PMIx here; srun --mpi=list: {found}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.db")


@pytest.fixture
def connections() -> Iterator[Connections]:
    with Connections(open_transport) as opened:
        yield opened
