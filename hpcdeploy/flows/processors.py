"""Refuse a job whose image is for another processor than the nodes that may run the job, before anything is submitted."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hpcdeploy.architecture import Architecture, of_machine
from hpcdeploy.cluster import Cluster, Nodes, SchedulerName
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError, ConnectionLostError, HpcdeployError, SchedulerError
from hpcdeploy.flows.images import RegistryLookup, published_of
from hpcdeploy.frozen import frozen
from hpcdeploy.image import PublishedImage
from hpcdeploy.job import Job
from hpcdeploy.regular_file import open_regular
from hpcdeploy.remote.nodes import query_nodes
from hpcdeploy.remote.session import Session
from hpcdeploy.source import DefinitionSource
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store


class NodesOf(Protocol):
    """A function that returns the processors of a cluster's nodes."""

    def __call__(self, cluster: Cluster, scheduler: SchedulerName, /, *, again: bool) -> Nodes | None:
        """Return the processors; None if they are unknown. If `again`, do not return an earlier answer."""


def no_nodes(_cluster: Cluster, _scheduler: SchedulerName, /, *, again: bool) -> Nodes | None:  # noqa: ARG001
    """Return None: the nodes are unknown."""
    return None


def nodes_by(store: Store, session_of: Callable[[Cluster], Session] | None) -> NodesOf:
    """Return a function that returns the nodes in the record, or queries and records them.

    The function raises `ConfigError` before it queries a cluster if the record cannot be written, because the submission
    would fail too. If a query fails after the connection was opened, the nodes are unknown: the submission that follows
    reports what is wrong with the cluster. The function queries a cluster at most once.

    Args:
        store: The record.
        session_of: Returns the session with a cluster; None to query nothing.
    """
    queried: set[tuple[str, SchedulerName]] = set()

    def nodes(cluster: Cluster, scheduler: SchedulerName, /, *, again: bool) -> Nodes | None:
        known = store.known_nodes(cluster, scheduler)
        if session_of is None or (known is not None and not again) or (cluster.name, scheduler) in queried:
            return known
        queried.add((cluster.name, scheduler))
        store.expect_nodes()
        session = session_of(cluster)
        try:
            known = query_nodes(session, scheduler)
        except SchedulerError:
            return None
        except ConnectionLostError:
            session.reconnect()
            return None
        store.know_nodes(cluster, scheduler, known)
        return known

    return nodes


def architecture_of(image: str, delivery: Delivery, project: Project, store: Store, registries: RegistryLookup) -> str:
    """Return the architecture of a job's image, such as ``arm64``; empty if it is unknown.

    It is that in the header of the image: as recorded, or in the file on this machine. Otherwise it is that of the image's
    settings. If there are none, or the settings of a definition name no platform, the header is read in the registry.

    Args:
        image: The name of an image of the project, or another image.
        delivery: How the cluster gets the image.
        project: The project.
        store: The record.
        registries: Looks up images in registries.
    """
    settings = project.images.get(image)
    built = store.latest_build(project.root, image) if settings else None
    if built and built.sha256 == delivery.sha256 and built.architecture:
        return built.architecture
    if delivery.upload and delivery.upload.source.startswith("/"):
        return _architecture_of_file(Path(delivery.upload.source))
    if settings and not (isinstance(settings.source, DefinitionSource) and settings.platform is None):
        return settings.architecture.name
    published = published_of(delivery)
    return _architecture_in_registry(published, store, registries) if published else ""


def _architecture_in_registry(published: PublishedImage, store: Store, registries: RegistryLookup) -> str:
    """Return the architecture of a published image. Its header is read once, and remembered."""
    known = store.known_architecture(published.sha256)
    if known:
        return known
    from hpcdeploy.apptainer.sif import HEAD, architecture_in

    try:
        found = architecture_in(registries.head(published, HEAD))
        if found:
            store.know_architecture(published.sha256, found)
    except HpcdeployError:  # without the header, or without a record that can be written, the job is not refused
        return ""
    return found


def _architecture_of_file(path: Path) -> str:
    from hpcdeploy.apptainer.sif import HEAD, architecture_in

    try:
        with open_regular(path) as file:
            return architecture_in(file.read(HEAD))
    except (OSError, HpcdeployError):
        return ""


@frozen
class _Place:
    """Nodes that may run a job: their description, and their processors by the name that `_named` gives them."""

    name: str
    processors: frozenset[str]


def fitted(job: Job, image: str, cluster: Cluster, scheduler: SchedulerName, nodes: NodesOf) -> Job:
    """Check that the nodes of a job can run its image.

    Args:
        job: The job.
        image: The architecture of its image (`architecture_of`).
        cluster: The cluster.
        scheduler: The scheduler.
        nodes: Returns the processors of the cluster's nodes.

    Returns:
        The job. For HTCondor it has a requirement if condor_submit would not require the image's processor by itself.

    Raises:
        ConfigError: Nodes that the scheduler may choose have other processors only.
    """
    wanted = of_machine(image)
    if wanted is None:
        return job
    found = None if _is_set(job, cluster, scheduler) else nodes(cluster, scheduler, again=False)
    if found is not None and (
        _misfits(wanted, job, cluster, scheduler, found) or _has_new_partition(job, cluster, scheduler, found)
    ):
        found = nodes(cluster, scheduler, again=True) or found  # the recorded answer may be old
    misfits = _misfits(wanted, job, cluster, scheduler, found)
    if misfits:
        raise _refused(misfits[0], wanted, job, cluster, scheduler, found)
    return _required(job, wanted, cluster, found) if scheduler == "htcondor" else job


def _partitions(job: Job, scheduler: SchedulerName) -> tuple[str, ...]:
    """Return the partitions that a job names. If there are several, Slurm chooses one of them (sbatch(1), --partition)."""
    if scheduler != "slurm":
        return ()
    own = next((str(value) for name, value in job.slurm if name in ("partition", "p")), "")
    return tuple(filter(None, (job.resources.partition or own).split(",")))


def _has_new_partition(job: Job, cluster: Cluster, scheduler: SchedulerName, found: Nodes) -> bool:
    """Tell whether the job names a partition that both the recorded answer and the settings lack."""
    known = {name for name, _ in (*found.processors, *cluster.platform)}
    return not known.issuperset(_partitions(job, scheduler))


def _settings(cluster: Cluster) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(one.machine for one in several) for name, several in cluster.platform}


def _is_set(job: Job, cluster: Cluster, scheduler: SchedulerName) -> bool:
    """Tell whether the cluster's settings have the processors of all nodes that may run the job."""
    settings = _settings(cluster)
    named = _partitions(job, scheduler)
    return "" in settings or (bool(named) and all(name in settings for name in named))


def _places(job: Job, cluster: Cluster, scheduler: SchedulerName, found: Nodes | None) -> list[_Place]:
    """Return the nodes that the scheduler may choose, as far as their processors are known."""
    settings = _settings(cluster)
    known = {name: frozenset(map(_named, processors)) for name, processors in found.processors} if found else {}
    named = _partitions(job, scheduler)
    # A reservation may have a partition, which a job without a partition then gets instead of the default one
    # (_get_job_parts in src/slurmctld/job_mgr.c of Slurm).
    if not named and found and found.default and scheduler == "slurm" and not dict(job.slurm).get("reservation"):
        named = (found.default,)
    if not named:
        everywhere = settings.get("") or frozenset[str]().union(*known.values(), *(settings.values() if known else ()))
        return [_Place(name=f"cluster {cluster.name}", processors=everywhere)] if everywhere else []
    places = ((name, settings.get(name) or settings.get("") or known.get(name)) for name in named)
    return [
        _Place(name=f"partition {name} of cluster {cluster.name}", processors=processors)
        for name, processors in places
        if processors
    ]


def _misfits(
    wanted: Architecture, job: Job, cluster: Cluster, scheduler: SchedulerName, found: Nodes | None
) -> list[_Place]:
    return [place for place in _places(job, cluster, scheduler, found) if wanted.machine not in place.processors]


def _named(processor: str) -> str:
    """Return the kernel's name of a processor, if it is known by another name."""
    known = of_machine(processor)
    return known.machine if known else processor


def _refused(
    place: _Place, wanted: Architecture, job: Job, cluster: Cluster, scheduler: SchedulerName, found: Nodes | None
) -> ConfigError:
    there = {name: set(map(_named, processors)) for name, processors in found.processors if name} if found else {}
    there |= {name: set(processors) for name, processors in _settings(cluster).items() if name}
    fitting = [name for name, processors in there.items() if wanted.machine in processors]
    advice = []
    if scheduler == "slurm" and fitting:
        advice.append(f"use a partition with {wanted.machine} nodes ({', '.join(sorted(fitting)[:5])})")
    other = next((one for one in map(of_machine, sorted(place.processors)) if one), None)
    if other:
        advice.append(f'build an image for these nodes (platform = "{other.subdir}" in the image\'s settings)')
    advice.append(f'or, if the nodes have other processors, set platform = "{wanted.subdir}" in [clusters.{cluster.name}]')
    return ConfigError(
        f"the image {job.image} is for {wanted.platform}, but {place.name} has only "
        f"{' and '.join(sorted(place.processors))} nodes; {', '.join(advice)}"
    )


def _required(job: Job, wanted: Architecture, cluster: Cluster, found: Nodes | None) -> Job:
    """Return `job` with a requirement for the workers' processor, unless condor_submit or the user requires it.

    condor_submit requires the processor of the access point if the job's requirements do not name ``Arch``
    (condor_submit(1), requirements). So a job for amd64 on an access point for amd64 gets no other requirement.
    """
    if any(name.lower() == "requirements" and _names_arch(str(value)) for name, value in job.htcondor):
        return job
    login = of_machine(found.login) if found else None
    by_itself = wanted.name == "amd64" and not cluster.platform and login in (None, wanted)
    if by_itself:
        return job
    return replace(job, htcondor=(*job.htcondor, ("requirements", f'TARGET.Arch == "{wanted.condor}"')))


_STRING = re.compile(r'"(?:[^"\\]++|\\.?+)*+"?+', re.DOTALL)
_ARCH = re.compile(r"(?<!\w)arch(?!\w)", re.IGNORECASE)


def _names_arch(requirements: str) -> bool:
    """Tell whether requirements use the attribute ``Arch``, whose case HTCondor ignores; ``Microarch`` is another one."""
    return bool(_ARCH.search(_STRING.sub('""', requirements)))
