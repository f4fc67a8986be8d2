"""How an image reaches a job: each route, on both schedulers where it is for both, once however many ask."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, ImageRoute, SchedulerName
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.flows import follow
from hpcdeploy.flows.images import RegistryLookup
from hpcdeploy.flows.plan import Plan, Requested, plan
from hpcdeploy.flows.submit import Submitted, submit
from hpcdeploy.image import PublishedImage
from hpcdeploy.progress import Feedback
from hpcdeploy.registry import lookup
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, wait_for
from tests.cluster.proxies import Counted, counted, cut_ssh
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])


@pytest.fixture
def registry(lab: Lab) -> Iterator[Counted]:
    with counted(lab.registry) as told:
        yield told


@pytest.fixture
def fresh(cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """The lab with an unused root."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-60:]
    return replace(cluster, root=f"$SCRATCH/{OWN}/routes/{name}")


@pytest.fixture(autouse=True)
def single_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload each image as a single stream: on a busy machine, the latency would start parallel uploads."""
    monkeypatch.setattr(parallel_upload, "FAR", float("inf"))


def planned(
    image: str, cluster: Cluster, scheduler: SchedulerName, store: Store, folder: Path, command: str = "echo ran"
) -> Plan:
    project = Project(root=folder, clusters={cluster.name: cluster})
    options = JobSettings(image=image, command=("sh", "-c", command))
    return plan(
        project,
        store,
        Requested(scheduler=scheduler, options=options),
        RegistryLookup(resolve=lookup.resolve, plain_http=lookup.uses_plain_http),
        now=time.time(),
    )


def go(made: Plan, connections: Connections, store: Store, said: list[bytes] | None = None) -> Submitted:
    report = (lambda _: None) if said is None else said.append
    return submit(
        made.run, made.script, connections.to(made.cluster), store, uploads=made.uploads, feedback=Feedback(report=report)
    )


def reference(registry: Counted, published: PublishedImage) -> str:
    return f"oras://{registry.host}/tests/cluster@sha256:{published.manifest}"


def ran(done: Submitted, cluster: Cluster, connections: Connections, store: Store) -> bool:
    status = wait_for(done.run, cluster, connections, store)
    assert status.state is State.COMPLETED, output_of(status, cluster, connections)
    return output_of(status, cluster, connections) == "ran\n"


@BOTH
@pytest.mark.parametrize("route", ["auto", "login", "stream"])
def test_an_image_of_a_registry_gets_there_by_the_clusters_route(
    scheduler: SchedulerName,
    route: ImageRoute,
    fresh: Cluster,
    registry: Counted,
    published: PublishedImage,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    cluster = replace(fresh, image_route=route)
    for _ in range(2):
        done = go(planned(reference(registry, published), cluster, scheduler, store, tmp_path), connections, store)
        assert ran(done, cluster, connections, store)
    [download] = registry.downloads(published.sha256)
    assert ("hpcdeploy" in download.agent) == (route == "stream")


@BOTH
def test_a_stream_that_breaks_off_on_either_side_goes_on_and_leaves_nothing_here(
    lab: Lab,
    scheduler: SchedulerName,
    fresh: Cluster,
    registry: Counted,
    published: PublishedImage,
    store: Store,
    tmp_path: Path,
) -> None:
    registry.cuts = [2_000_000]
    said: list[bytes] = []
    with cut_ssh(lab, tmp_path, [5_000_000]) as config:
        cluster = replace(fresh, image_route="stream", ssh_config=config)
        with Connections(open_transport) as connections:
            done = go(planned(reference(registry, published), cluster, scheduler, store, tmp_path), connections, store, said)
            assert ran(done, cluster, connections, store)
    assert b"; resuming" in b"".join(said)
    first, *others = registry.downloads(published.sha256)
    assert first.range == ""
    assert [one.range.startswith("bytes=") for one in others] == [True, True]
    assert {path.name for path in tmp_path.iterdir()} == {"cut_ssh_config", "runs.db"}


def test_a_login_node_without_apptainer_is_streamed_to(
    lab: Lab,
    fresh: Cluster,
    registry: Counted,
    published: PublishedImage,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    # A program that only compute nodes have.
    folder = f"{lab.scratch}/{OWN}/compute-node"
    link = f"mkdir -p {folder} && ln -sf $(command -v apptainer) {folder}/container-runner"
    assert inside(lab, ["sh", "-c", link], user=lab.user).returncode == 0
    setup = (f'[ -z "${{SLURM_JOB_ID-}}" ] || PATH=$PATH:{folder}',)
    cluster = replace(fresh, apptainer="container-runner", setup=setup)
    said: list[bytes] = []
    done = go(planned(reference(registry, published), cluster, "slurm", store, tmp_path), connections, store, said)
    assert b"container-runner is not on this machine's PATH" in b"".join(said)
    assert ran(done, cluster, connections, store)
    assert ["hpcdeploy" in one.agent for one in registry.downloads(published.sha256)] == [True]


@BOTH
def test_an_image_that_only_this_machine_may_read_is_streamed(
    scheduler: SchedulerName,
    fresh: Cluster,
    registry: Counted,
    published: PublishedImage,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    registry.turns_away = lambda asked: "hpcdeploy" not in asked.agent
    said: list[bytes] = []
    done = go(planned(reference(registry, published), fresh, scheduler, store, tmp_path), connections, store, said)
    assert b"the image could not be pulled" in b"".join(said)
    assert b"so hpcdeploy must upload the image" in b"".join(said)
    assert ran(done, fresh, connections, store)


@BOTH
def test_a_file_of_this_machine_is_brought_and_goes_on_where_it_was_cut(
    lab: Lab, scheduler: SchedulerName, fresh: Cluster, published: PublishedImage, store: Store, tmp_path: Path
) -> None:
    lookup.registry_of(published.reference).download(published, tmp_path / "own image.sif")
    said: list[bytes] = []
    with cut_ssh(lab, tmp_path, [10_000_000, 10_000_000]) as config:
        cluster = replace(fresh, ssh_config=config)
        with Connections(open_transport) as connections:
            done = go(planned("own image.sif", cluster, scheduler, store, tmp_path), connections, store, said)
            assert ran(done, cluster, connections, store)
    assert b"".join(said).count(b"; resuming") == 2
    assert done.run.sha256 == published.sha256


def test_fifty_runs_that_want_one_image_at_once_download_it_once(
    lab: Lab, fresh: Cluster, registry: Counted, published: PublishedImage, store: Store, tmp_path: Path
) -> None:
    made = [
        planned(reference(registry, published), fresh, scheduler, store, tmp_path, "true")
        for scheduler in ("slurm", "htcondor")
        for _ in range(25)
    ]
    done: list[Submitted] = []
    machines = [Connections(open_transport) for _ in range(10)]  # sshd takes ten sessions a connection (MaxSessions)
    for machine in machines:
        machine.to(fresh).link.open().run(["true"])
    ready = threading.Barrier(len(made))

    def client(number: int) -> None:
        ready.wait(60)
        done.append(go(made[number], machines[number % len(machines)], store))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(len(made))]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert len({(one.run.scheduler, one.run.job_id) for one in done}) == 50
    assert len(registry.downloads(published.sha256)) == 1
    known = [RunStatus(run=one.run, tasks=(), asked=0) for one in done]
    *_, last = follow.wait(known, lambda _: machines[0].to(fresh), store, first=1, slowest=2, patience=240)
    assert {one.state for one in last.statuses} == {State.COMPLETED}
    for machine in machines:
        machine.__exit__()


def test_jobs_that_pull_their_image_themselves_pull_it_once(
    fresh: Cluster, registry: Counted, published: PublishedImage, connections: Connections, store: Store, tmp_path: Path
) -> None:
    cluster = replace(fresh, image_route="job")
    held = [planned(reference(registry, published), cluster, "slurm", store, tmp_path) for _ in range(6)]
    done = [go(made, connections, store) for made in held]
    assert all(ran(one, cluster, connections, store) for one in done)
    [download] = registry.downloads(published.sha256)
    assert "hpcdeploy" not in download.agent


def test_a_job_that_pulls_another_image_than_it_was_promised_says_so_and_runs_nothing(
    lab: Lab,
    fresh: Cluster,
    registry: Counted,
    published: PublishedImage,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    cluster = replace(fresh, image_route="job")

    def wrong(_reference: str) -> PublishedImage:
        return replace(lookup.resolve(reference(registry, published)), sha256="0" * 64)

    project = Project(root=tmp_path, clusters={cluster.name: cluster})
    made = plan(
        project,
        store,
        Requested(scheduler="slurm", options=JobSettings(image=reference(registry, published), command=("echo", "ran"))),
        RegistryLookup(resolve=wrong, plain_http=lookup.uses_plain_http),
        now=time.time(),
    )
    done = go(made, connections, store)
    status = wait_for(done.run, cluster, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, 1)
    assert output_of(status, cluster, connections) == ""
    left = inside(lab, ["bash", "-c", f"ls -A {lab.scratch}/{cluster.root.removeprefix('$SCRATCH/')}/images"], user=lab.user)
    assert left.stdout.decode().split() == [f".{'0' * 64}.lock"]


def test_htcondor_leaves_the_pull_in_the_job_to_the_worker(
    fresh: Cluster, registry: Counted, published: PublishedImage, store: Store, tmp_path: Path
) -> None:
    made = planned(reference(registry, published), replace(fresh, image_route="job"), "htcondor", store, tmp_path)
    assert f"@sha256:{published.manifest}\n" in made.script.partition("container_image         = oras://")[2]
    assert "pull_image" not in made.script
