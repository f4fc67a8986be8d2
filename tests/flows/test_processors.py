"""Whether the nodes of a job can run its image: what is known of both, what is refused, and what is asked how often."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.architecture import AMD64, ARM64
from hpcdeploy.cluster import Cluster, Nodes, SchedulerName
from hpcdeploy.config.files import load_project
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import ConfigError, ConnectionLostError, RegistryError, SchedulerError, TransportError
from hpcdeploy.flows.images import RegistryLookup
from hpcdeploy.flows.plan import Confirmations, Requested, plan
from hpcdeploy.flows.processors import architecture_of, fitted, no_nodes, nodes_by
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.job import Job, Resources
from hpcdeploy.remote.nodes import nodes_script, read_nodes
from hpcdeploy.remote.session import Link, RetryPolicy, Session
from hpcdeploy.scheduler.contract import read_answers
from hpcdeploy.source import DefinitionSource, PixiSource
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed
from hpcdeploy.transport.local import LocalTransport
from tests.apptainer.test_other_processor import image_for

MIXED = Nodes(
    login="x86_64", processors=(("cpu", ("x86_64",)), ("gh", ("aarch64",)), ("all", ("x86_64", "aarch64"))), default="cpu"
)
X86 = Nodes(login="x86_64", processors=(("cpu", ("x86_64",)),), default="cpu")
POOL = Nodes(login="x86_64", processors=(("", ("X86_64", "aarch64")),))
OLD_POOL = Nodes(login="x86_64", processors=(("", ("X86_64",)),))
ARM_POOL = Nodes(login="aarch64", processors=(("", ("X86_64", "aarch64")),))
REQUIREMENT = ("requirements", 'TARGET.Arch == "aarch64"')


class Asked:
    """The answer of a cluster, and how often it was asked."""

    def __init__(self, *answers: Nodes | None) -> None:
        self.answers = list(answers)
        self.calls: list[bool] = []

    def __call__(self, _cluster: Cluster, _scheduler: SchedulerName, /, *, again: bool) -> Nodes | None:
        self.calls.append(again)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def job(partition: str = "", **fields: Any) -> Job:
    return Job(name="train", image="train", command=("true",), resources=Resources(partition=partition or None), **fields)


def fit(
    image: str, nodes: Nodes | None, one: Job | None = None, *, scheduler: SchedulerName = "slurm", platform: Any = ()
) -> Job:
    return fitted(one or job(), image, Cluster(name="hpc", platform=platform), scheduler, Asked(nodes))


@pytest.mark.parametrize(
    ("image", "nodes", "partition"),
    [
        ("amd64", X86, ""),
        ("amd64", MIXED, ""),
        ("amd64", MIXED, "cpu"),
        ("amd64", MIXED, "all"),
        ("arm64", MIXED, "gh"),
        ("arm64", MIXED, "all,gh"),
        ("arm64", MIXED, "hidden"),
        ("arm64", None, ""),
        ("arm64", None, "gh"),
        ("arm64", Nodes(login="x86_64"), ""),
        ("arm64", replace(MIXED, default=""), ""),
        ("", X86, ""),
        ("riscv64", X86, ""),
    ],
)
def test_a_job_whose_nodes_may_fit_is_unchanged(image: str, nodes: Nodes | None, partition: str) -> None:
    one = job(partition)
    assert fit(image, nodes, one) is one


@pytest.mark.parametrize(
    ("image", "nodes", "partition", "words"),
    [
        ("arm64", X86, "", r"train is for linux/arm64, but partition cpu of cluster hpc has only x86_64 nodes"),
        ("arm64", replace(X86, default=""), "", "cluster hpc has only x86_64 nodes"),
        ("arm64", MIXED, "", r'use a partition with aarch64 nodes \(all, gh\), build an image .*platform = "linux-64"'),
        ("arm64", MIXED, "gh,cpu", "partition cpu of cluster hpc has only x86_64"),
        ("amd64", MIXED, "gh", r"is for linux/amd64, but partition gh of cluster hpc has only aarch64 nodes"),
        (
            "arm64",
            MIXED,
            "cpu",
            r"or, if the nodes have other processors, set platform = \"linux-aarch64\" in \[clusters\.hpc\]",
        ),
        ("arm64", Nodes(processors=(("", ("ppc64le",)),)), "", "has only ppc64le nodes; or, if"),
    ],
)
def test_a_job_whose_nodes_have_another_processor_is_refused_with_the_remedy(
    image: str, nodes: Nodes, partition: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(image, nodes, job(partition))


def test_the_partition_may_be_an_option_of_sbatch() -> None:
    one = job(slurm=(("partition", "gh"),))
    assert fit("arm64", MIXED, one) is one
    with pytest.raises(ConfigError, match="partition gh"):
        fit("amd64", MIXED, one)


@pytest.mark.parametrize(
    ("platform", "partition", "image", "refused"),
    [
        ((("", (ARM64,)),), "", "arm64", ""),
        ((("", (ARM64,)),), "", "amd64", "cluster hpc has only aarch64 nodes"),
        ((("", (AMD64, ARM64)),), "cpu", "arm64", ""),
        ((("gh200", (ARM64,)),), "gh200", "arm64", ""),
        ((("gh200", (ARM64,)),), "gh200", "amd64", "partition gh200 .* only aarch64 nodes"),
    ],
)
def test_the_settings_of_the_cluster_have_precedence_and_nothing_is_asked(
    platform: Any, partition: str, image: str, refused: str
) -> None:
    asked = Asked(X86)
    cluster = Cluster(name="hpc", platform=platform)
    if refused:
        with pytest.raises(ConfigError, match=refused):
            fitted(job(partition), image, cluster, "slurm", asked)
    else:
        fitted(job(partition), image, cluster, "slurm", asked)
    assert asked.calls == []


def test_a_partition_without_an_entry_is_asked_for() -> None:
    asked = Asked(X86)
    cluster = Cluster(name="hpc", platform=(("gh200", (ARM64,)),))
    with pytest.raises(ConfigError, match=r"partition cpu .*nodes \(gh200\)"):
        fitted(job("cpu"), "arm64", cluster, "slurm", asked)
    assert asked.calls == [False, True]


def test_an_old_answer_is_asked_again_before_a_refusal() -> None:
    asked = Asked(MIXED)
    fitted(job("gh"), "arm64", Cluster(name="hpc"), "slurm", asked)
    fitted(job("cpu"), "amd64", Cluster(name="hpc"), "slurm", asked)
    assert asked.calls == [False, False]
    renewed = Asked(replace(X86, processors=(("gh", ("x86_64",)),)), MIXED)
    fitted(job("gh"), "arm64", Cluster(name="hpc"), "slurm", renewed)
    assert renewed.calls == [False, True]


def test_a_partition_that_a_remembered_answer_lacks_is_asked_for() -> None:
    asked = Asked(X86, MIXED)
    with pytest.raises(ConfigError, match="partition gh of cluster hpc has only aarch64"):
        fitted(job("gh"), "amd64", Cluster(name="hpc"), "slurm", asked)
    assert asked.calls == [False, True]
    without_nodes = Asked(replace(X86, processors=(*X86.processors, ("cloud", ()))))
    fitted(job("cloud"), "arm64", Cluster(name="hpc"), "slurm", without_nodes)
    assert without_nodes.calls == [False]


def test_a_reservation_may_have_another_partition_than_the_default_one() -> None:
    one = job(slurm=(("reservation", "course"),))
    assert fit("arm64", MIXED, one) is one
    with pytest.raises(ConfigError, match="cluster hpc has only x86_64 nodes"):
        fit("arm64", X86, one)
    with pytest.raises(ConfigError, match="partition cpu of cluster hpc has only x86_64 nodes"):
        fit("arm64", MIXED, replace(one, resources=Resources(partition="cpu")))


@pytest.mark.parametrize(
    ("image", "nodes", "platform", "added"),
    [
        ("amd64", POOL, (), ()),
        ("amd64", None, (), ()),
        ("arm64", POOL, (), (REQUIREMENT,)),
        ("arm64", None, (), (REQUIREMENT,)),
        ("arm64", ARM_POOL, (), (REQUIREMENT,)),
        ("amd64", ARM_POOL, (), (("requirements", 'TARGET.Arch == "X86_64"'),)),
        ("amd64", OLD_POOL, (("", (AMD64, ARM64)),), (("requirements", 'TARGET.Arch == "X86_64"'),)),
    ],
)
def test_a_worker_is_required_where_condor_submit_would_require_another(
    image: str, nodes: Nodes | None, platform: Any, added: tuple[tuple[str, str], ...]
) -> None:
    assert fit(image, nodes, scheduler="htcondor", platform=platform).htcondor == added


def test_a_pool_without_such_workers_is_refused_and_an_empty_one_is_not() -> None:
    with pytest.raises(ConfigError, match=r"cluster hpc has only x86_64 nodes; build an image"):
        fit("arm64", OLD_POOL, scheduler="htcondor")
    assert fit("arm64", Nodes(login="x86_64"), scheduler="htcondor").htcondor == (REQUIREMENT,)


def test_the_users_own_requirement_of_a_processor_stays_alone() -> None:
    own = job(htcondor=(("Requirements", 'Target.Arch == "aarch64" && HasX'),))
    assert fit("arm64", POOL, own, scheduler="htcondor") is own


@pytest.mark.parametrize(
    "own", ["HasX", 'TARGET.Microarch >= "x86_64-v3"', 'OpSysName == "Arch"', r'Name != "\"Arch" && search']
)
def test_a_requirement_without_the_attribute_arch_gets_the_processor_in_addition(own: str) -> None:
    other = job(htcondor=(("requirements", own),))
    assert fit("arm64", POOL, other, scheduler="htcondor").htcondor == (("requirements", own), REQUIREMENT)


SCONTROL = """\
NodeName=n1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=0 OS=Linux 6.1 #1 SMP Partitions=cpu,all Comment=Arch=odd
NodeName=n2 Arch=x86_64 CoresPerSocket=1 Partitions=cpu
NodeName=n3 Arch=aarch64 CoresPerSocket=72 Partitions=gh,all Reason=was Arch=x86_64 Partitions=cpu [root@now]
NodeName=new CoresPerSocket=1 State=FUTURE Partitions=later
"""
PARTITIONS = (
    "PartitionName=gh AllowGroups=ALL Default=NO\nPartitionName=cpu AllowGroups=ALL Default=YES QoS=N/A\n"
    "PartitionName=later Default=NO\n"
)
PROGRAMS = {
    "scontrol": f"case \"$*\" in *nodes) cat <<'E'\n{SCONTROL}E\n;; *) cat <<'E'\n{PARTITIONS}E\n;; esac",
    "condor_status": "printf '%s\\n' X86_64 aarch64 X86_64 undefined",
    "uname": "echo x86_64",
}


def run(folder: Path, scheduler: SchedulerName, programs: dict[str, str]) -> Nodes:
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    cluster = Cluster(name="hpc", host="h", root=str(folder), setup=(f"PATH={folder}:$PATH",))
    script = nodes_script(cluster, scheduler, "fence")
    done = subprocess.run(["bash", "-s"], input=script.encode(), capture_output=True, check=True)
    return read_nodes(read_answers(done.stdout, "fence", "login", "nodes"))


def test_the_schedulers_own_programs_name_the_processors(tmp_path: Path) -> None:
    slurm = run(tmp_path, "slurm", PROGRAMS)
    assert (slurm.login, slurm.default) == ("x86_64", "cpu")
    assert {name: set(found) for name, found in slurm.processors} == {
        "cpu": {"x86_64"},
        "gh": {"aarch64"},
        "all": {"x86_64", "aarch64"},
        "later": set(),
    }
    assert run(tmp_path, "htcondor", PROGRAMS) == Nodes(login="x86_64", processors=(("", ("X86_64", "aarch64")),))


@pytest.mark.parametrize(("scheduler", "program"), [("slurm", "scontrol"), ("htcondor", "condor_status")])
def test_a_scheduler_that_does_not_answer_leaves_the_nodes_unknown(
    tmp_path: Path, scheduler: SchedulerName, program: str
) -> None:
    with pytest.raises(SchedulerError, match="list of compute nodes failed"):
        run(tmp_path, scheduler, {**PROGRAMS, program: f"echo >> {tmp_path}/calls; exit 1"})
    assert (tmp_path / "calls").read_text() == "\n"


class Node(LocalTransport):
    """A login node with one answer, or one error, for each script."""

    def __init__(self, *answers: Nodes | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.scripts = 0

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.scripts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        [fence] = [
            line.removeprefix("fence=") for line in options["stdin"].decode().splitlines() if line.startswith("fence=")
        ]
        lines = "\n".join(f"node {name or '-'} {one}" for name, several in answer.processors for one in several)
        sections = {"login": answer.login, "nodes": lines, "defaults": f"default {answer.default}"}
        text = "HPCDEPLOY begins\n" + "".join(
            f"HPCDEPLOY {fence} begin {name}\n{content}\n\nHPCDEPLOY {fence} end {name} 0\n"
            for name, content in sections.items()
        )
        return Completed(exit_code=0, stdout=text.encode(), stderr=b"")


def session_with(node: Node) -> Session:
    return Session(cluster=Cluster(name="hpc"), link=Link(lambda: node), retry=RetryPolicy(pauses=()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.db")


def test_a_cluster_is_asked_once_and_its_answer_is_remembered(store: Store) -> None:
    node = Node(MIXED, X86)
    ask = nodes_by(store, lambda _: session_with(node))
    cluster = Cluster(name="hpc")
    assert ask(cluster, "slurm", again=False) == MIXED
    assert ask(cluster, "slurm", again=False) == MIXED
    assert node.scripts == 1
    assert ask(cluster, "slurm", again=True) == MIXED  # this answer is new
    assert node.scripts == 1
    assert nodes_by(store, None)(cluster, "slurm", again=True) == MIXED
    assert nodes_by(store, lambda _: session_with(node))(cluster, "slurm", again=True) == X86
    assert store.known_nodes(cluster, "slurm") == X86
    assert store.known_nodes(replace(cluster, host="other"), "slurm") is None
    assert store.known_nodes(cluster, "htcondor") is None


def test_a_damaged_row_is_as_none(store: Store) -> None:
    cluster = Cluster(name="hpc")
    store.know_nodes(cluster, "slurm", X86)
    with store.opened() as connection:
        connection.execute("UPDATE nodes SET nodes = '{}}'")
    assert store.known_nodes(cluster, "slurm") is None


@pytest.mark.parametrize("error", [SchedulerError("no"), ConnectionLostError("cut")])
def test_a_failed_query_leaves_the_decision_to_the_submission(store: Store, error: Exception) -> None:
    assert nodes_by(store, lambda _: session_with(Node(error)))(Cluster(name="hpc"), "slurm", again=False) is None
    assert store.known_nodes(Cluster(name="hpc"), "slurm") is None


def test_a_cluster_that_cannot_be_reached_is_an_error_at_once(store: Store) -> None:
    with pytest.raises(TransportError, match="down"):
        nodes_by(store, lambda _: session_with(Node(TransportError("down"))))(Cluster(name="hpc"), "slurm", again=False)


BUILT = BuiltImage(name="train", sha256="a" * 64, size=7, inputs="b" * 64, apptainer="apptainer 1.4.5", created="c")
DELIVERY = Delivery(sha256="a" * 64, size=7)
PUSHED = "oras://ghcr.io/me/train@sha256:" + "c" * 64


def registry(head: bytes | None) -> RegistryLookup:
    def nobody(reference: str) -> PublishedImage:
        raise AssertionError(reference)

    def first(_image: PublishedImage, most: int) -> bytes:
        if head is None:
            raise RegistryError("none")
        return head[:most]

    return RegistryLookup(resolve=nobody, plain_http=lambda _: False, head=first)


def test_the_architecture_is_that_of_the_header_as_far_as_it_is_known(tmp_path: Path, store: Store) -> None:
    arm, path = image_for(b"04\0"), tmp_path / "x.sif"
    path.write_bytes(arm)
    pixi = ImageSettings(name="train", source=PixiSource())
    project = Project(root=tmp_path, images={"train": pixi})
    staged = StagedFile(sha256="a" * 64, size=7, path="p", what="w", source=str(path))

    def found(delivery: Delivery = DELIVERY, image: str = "train", head: bytes | None = None) -> str:
        return architecture_of(image, delivery, project, store, registry(head))

    assert found() == "amd64"
    assert found(replace(DELIVERY, upload=staged)) == "arm64"
    store.built(tmp_path, BUILT)
    assert found() == "amd64"
    store.built(tmp_path, replace(BUILT, architecture="arm64"))
    assert found() == "arm64"
    assert found(replace(DELIVERY, sha256="d" * 64)) == "amd64"
    pulled = replace(DELIVERY, reference=PUSHED)
    assert found(pulled, "oras://ghcr.io/me/train:1", None) == ""
    assert found(pulled, "oras://ghcr.io/me/train:1", b"no image") == ""
    assert found(pulled, "oras://ghcr.io/me/train:1", arm) == "arm64"
    assert found(pulled, "oras://ghcr.io/me/train:1", None) == "arm64"  # remembered
    assert found(Delivery(sha256="e" * 64, place="/cvmfs/x", in_job=True), "/cvmfs/x") == ""
    assert found(replace(DELIVERY, upload=replace(staged, source=str(tmp_path / "gone.sif"))), "gone.sif") == ""


@pytest.mark.parametrize(("platform", "expected"), [(None, ""), (ARM64, "arm64")])
def test_a_definition_without_a_platform_may_be_for_any_processor(
    tmp_path: Path, store: Store, platform: Any, expected: str
) -> None:
    settings = ImageSettings(name="train", source=DefinitionSource(file="x.def"), platform=platform)
    project = Project(root=tmp_path, images={"train": settings})
    assert architecture_of("train", DELIVERY, project, store, registry(None)) == expected


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_plan_of_such_a_job_is_refused_and_without_an_answer_it_is_made(
    tmp_path: Path, store: Store, scheduler: SchedulerName
) -> None:
    (tmp_path / "x.sif").write_bytes(image_for(b"04\0"))
    cluster = Cluster(name="hpc", host="h", schedulers=(scheduler,))
    project = Project(
        root=tmp_path,
        clusters={"hpc": cluster},
        jobs={"train": JobSettings(image=str(tmp_path / "x.sif"), command=("true",))},
    )
    nodes = X86 if scheduler == "slurm" else OLD_POOL
    requested = Requested(job="train", cluster="hpc", scheduler=scheduler)
    with pytest.raises(ConfigError, match="has only x86_64 nodes"):
        plan(project, store, requested, registry(None), now=0, confirm=Confirmations(nodes=Asked(nodes)))
    script = plan(project, store, requested, registry(None), now=0, confirm=Confirmations(nodes=no_nodes)).script
    assert ('TARGET.Arch == "aarch64"' in script) == (scheduler == "htcondor")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"linux-aarch64"', (("", (ARM64,)),)),
        ('["linux/amd64", "linux/arm64"]', (("", (AMD64, ARM64)),)),
        ('{ gh200 = "linux-aarch64", all = ["linux-64", "arm64"] }', (("gh200", (ARM64,)), ("all", (AMD64, ARM64)))),
    ],
)
def test_the_platform_of_a_cluster_is_one_or_several_or_a_table(tmp_path: Path, text: str, expected: Any) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f'[clusters.hpc]\nhost = "h"\nplatform = {text}\n')
    assert load_project(tmp_path, {}).clusters["hpc"].platform == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"sparc"', r'clusters\.hpc\.platform: found "sparc"; expected'),
        ("[]", "platform: found an empty list; expected a list of platforms"),
        ("64", "platform: found 64; expected a platform"),
        ('{ gh200 = "sparc" }', r'platform\.gh200: found "sparc"'),
        ('{ "a b" = "linux-64" }', 'found "a b"; expected the name of a partition'),
    ],
)
def test_another_platform_of_a_cluster_is_one_message(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f'[clusters.hpc]\nhost = "h"\nplatform = {text}\n')
    with pytest.raises(ConfigError, match=words):
        load_project(tmp_path, {})
