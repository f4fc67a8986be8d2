"""Jobs whose image is for another processor than the cluster's: the lab's real schedulers name their nodes."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.architecture import AMD64, ARM64, of_machine
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.images import RegistryLookup
from hpcdeploy.flows.plan import Confirmations, Plan, Requested, plan
from hpcdeploy.flows.processors import nodes_by
from hpcdeploy.flows.submit import submit
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry import lookup
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.nodes import query_nodes
from hpcdeploy.run import RunStatus, State
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.apptainer.test_other_processor import image_for
from tests.cluster.driving import wait_for
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
MACHINE = os.uname().machine
HERE = of_machine(MACHINE)
OTHER = ARM64 if HERE == AMD64 else AMD64
CODE = {AMD64: b"02\0", ARM64: b"04\0"}[OTHER]
LOOKUP = RegistryLookup(resolve=lookup.resolve, plain_http=lookup.uses_plain_http, head=lookup.head_of)


@pytest.fixture
def fresh(cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """The lab with an unused root."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-60:]
    return replace(cluster, root=f"$SCRATCH/{OWN}/processors/{name}")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image file whose header has another architecture than the lab."""
    (tmp_path / "other.sif").write_bytes(image_for(CODE))
    return tmp_path / "other.sif"


def planned(
    image: str, cluster: Cluster, scheduler: SchedulerName, store: Store, connections: Connections, folder: Path
) -> Plan:
    return plan(
        Project(root=folder, clusters={cluster.name: cluster}),
        store,
        Requested(scheduler=scheduler, options=JobSettings(image=image, command=("echo", "ran"))),
        LOOKUP,
        now=time.time(),
        confirm=Confirmations(nodes=nodes_by(store, connections.to)),
    )


@BOTH
def test_the_scheduler_names_the_processor_of_every_node(
    fresh: Cluster, scheduler: SchedulerName, connections: Connections
) -> None:
    nodes = query_nodes(connections.to(fresh), scheduler)
    assert nodes.login == MACHINE
    assert nodes.processors
    assert {of_machine(one) for _, several in nodes.processors for one in several} == {HERE}
    assert bool(nodes.default) == (scheduler == "slurm")


@BOTH
def test_a_job_with_an_image_for_another_processor_is_refused_and_nothing_is_left(
    lab: Lab, fresh: Cluster, scheduler: SchedulerName, image: Path, connections: Connections, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"is for {OTHER.platform}, but .* has only {MACHINE} nodes; .*\[clusters\.lab\]"):
        planned(str(image), fresh, scheduler, store, connections, tmp_path)
    assert store.latest() == []
    assert store.known_nodes(fresh, scheduler) is not None
    folder = fresh.root.replace("$SCRATCH", lab.scratch)
    assert inside(lab, ["test", "-e", folder], user=lab.user).returncode != 0


@BOTH
def test_a_pushed_image_for_the_lab_runs_also_where_the_settings_name_its_processor(
    published: PublishedImage,
    fresh: Cluster,
    scheduler: SchedulerName,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    assert HERE is not None
    named = replace(fresh, platform=(("", (HERE, OTHER)),))
    made = planned(published.reference, named, scheduler, store, connections, tmp_path)
    assert ("TARGET.Arch" in made.script) == (scheduler == "htcondor")
    done = submit(made.run, made.script, connections.to(named), store, uploads=made.uploads)
    assert wait_for(done.run, named, connections, store).state is State.COMPLETED


def test_a_pushed_image_for_another_processor_is_known_by_its_header(
    lab: Lab, fresh: Cluster, image: Path, connections: Connections, store: Store, tmp_path: Path
) -> None:
    content = image.read_bytes()

    pushed = lookup.registry_of(f"{lab.registry}/{OWN}/other").push(
        image, sha256=hashlib.sha256(content).hexdigest(), created="2026-01-01T00:00:00Z", tags=("latest",)
    )
    with pytest.raises(ConfigError, match=f"is for {OTHER.platform}"):
        planned(pushed.reference, fresh, "slurm", store, connections, tmp_path)


@pytest.fixture
def waiting(
    fresh: Cluster, image: Path, connections: Connections, store: Store, tmp_path: Path
) -> Iterator[tuple[Cluster, str]]:
    """Submit a job for workers with another processor, which the pool may get later; give its cluster and its job id."""
    named = replace(fresh, platform=(("", (OTHER,)),))
    made = planned(str(image), named, "htcondor", store, connections, tmp_path)
    run = submit(made.run, made.script, connections.to(named), store, uploads=made.uploads).run
    yield named, run.job_id
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(named), store)


@pytest.mark.usefixtures("htcondor")
def test_condor_submit_requires_only_the_processor_of_the_image(lab: Lab, waiting: tuple[Cluster, str]) -> None:
    _, job_id = waiting
    shown = inside(lab, ["condor_q", job_id, "-autoformat:r", "Requirements"], user=lab.user).stdout.decode()
    assert f'TARGET.Arch == "{OTHER.condor}"' in shown
    assert HERE is not None
    assert f'"{HERE.condor}"' not in shown
