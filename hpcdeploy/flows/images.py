"""Find the image of a job, and how the login node can get it."""

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.worker_images import taken_by_worker
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.parcel import Parcel
from hpcdeploy.registry.reference import parse_reference, split_port
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of

Resolve = Callable[[str], PublishedImage]
"""Look up a reference (``oras://...``) in its registry."""

SpeaksPlainHttp = Callable[[str], bool]
"""Tell whether the registry of a repository uses plain HTTP; by default those on loopback do, as for docker and oras."""


def delivery_of(
    image: str, project: Project, cluster: Cluster, store: Store, resolve: Resolve, plain_http: SpeaksPlainHttp
) -> Delivery:
    """Return how a login node gets `image`.

    `image` is an image of the project, a ``.sif`` on this machine, an ``oras://`` reference, or an image that an HTCondor
    worker gets itself (`taken_by_worker`). For an image of the project the latest build is used: pulled by digest from its
    registry, or from the cache of the cluster where it was built, or uploaded from this machine. If it was built on several
    clusters from the same inputs, each uses its own build. An image that was never built here is ``latest`` in its first
    repository.

    Args:
        image: The image.
        project: The project.
        cluster: The cluster.
        store: The record.
        resolve: Looks up a reference in its registry.
        plain_http: Tells whether a repository's registry uses plain HTTP.

    Raises:
        ConfigError: The image is neither in a registry nor here nor in this cluster's cache.
        RegistryError: A registry query failed.
    """

    def pulled(published: PublishedImage) -> Delivery:
        return _from_registry(published, cluster, plain_http=plain_http(published.repository))

    if image.startswith("oras://"):
        return pulled(resolve(image))
    if image not in project.images:
        elsewhere = taken_by_worker(image)
        if elsewhere is not None:
            return elsewhere
        return _local_file(Path(image), cluster, f"the image {Path(image).name}")
    built = store.latest_build(project.root, image)
    if built is None:
        repositories = project.images[image].repositories
        if not repositories:
            raise ConfigError(f"the image {image!r} was not built yet, and has no repository; run 'hpcdeploy build'")
        return pulled(resolve(f"oras://{repositories[0]}:latest"))
    publications = store.publications(built.sha256)
    if publications:
        return pulled(publications[0])
    return _unpushed(built, store.latest_build_on(project.root, image, cluster.name), cluster)


def published_of(delivery: Delivery) -> PublishedImage | None:
    """Return the image in a registry that `delivery` uses; None if it has another source."""
    address = delivery.reference or (delivery.parcel.source if delivery.parcel else "")
    repository, digest, manifest = address.removeprefix("oras://").partition("@sha256:")
    if not address.startswith("oras://") or not digest:
        return None
    return PublishedImage(repository=repository, manifest=manifest, sha256=delivery.sha256, size=delivery.size)


def _from_registry(published: PublishedImage, cluster: Cluster, *, plain_http: bool) -> Delivery:
    """Return how a login node gets an image from a registry, by the cluster's ``image-route``."""
    delivery = Delivery(sha256=published.sha256, size=published.size)
    if cluster.image_route in ("auto", "stream"):
        name = published.repository.rpartition("/")[2]
        delivery = replace(delivery, parcel=_parcel(delivery, cluster, f"the image {name}", published.reference))
    if cluster.image_route == "stream":
        return delivery
    host, port = split_port(parse_reference(published.repository).endpoint)
    return replace(
        delivery,
        reference=published.reference,
        host=host,
        port=int(port or (80 if plain_http else 443)),
        plain_http=plain_http,
        in_job=cluster.image_route == "job",
    )


def _unpushed(built: BuiltImage, built_there: BuiltImage | None, cluster: Cluster) -> Delivery:
    """Return how a login node gets an image that is in no registry: from its own cache, or from the file here.

    `built_there` is the latest build on that cluster.
    """
    on_cluster = cluster.name in (built.built_on, built.cached_on)
    is_here = bool(built.path) and Path(built.path).is_file()
    if not on_cluster and not is_here:
        if built_there and (built_there.sha256 == built.sha256 or built_there.inputs == built.inputs):
            return Delivery(sha256=built_there.sha256, size=built_there.size)
        gone = f" and {built.path} was removed," if built.path else ""
        elsewhere = f" and is stored only on {built.built_on}," if built.built_on else ""
        raise ConfigError(
            f"the image {built.name!r} was built but never pushed,{elsewhere or gone} so {cluster.name} cannot get it; run "
            f"'hpcdeploy push' first, or build it there: 'hpcdeploy build --on {cluster.name}'"
        )
    delivery = Delivery(sha256=built.sha256, size=built.size)
    if not is_here:
        return delivery
    return replace(delivery, parcel=_parcel(delivery, cluster, f"the image {built.name}", str(Path(built.path).resolve())))


def _local_file(path: Path, cluster: Cluster, what: str) -> Delivery:
    from hpcdeploy.apptainer.sif import read_sif

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block until another process writes to it
            raise ConfigError(f"the image {path} is not a file; expected a .sif that Apptainer has built")
        with path.open("rb") as file:
            read_sif(file, str(path))  # report an incomplete copy here, not in each job
        delivery = Delivery(sha256=sha256_of(path), size=path.stat().st_size)
    except OSError as error:
        raise ConfigError(f"the image {path} cannot be read: {error.strerror}; expected a .sif there") from error
    return replace(delivery, parcel=_parcel(delivery, cluster, what, str(path.resolve())))


def _parcel(delivery: Delivery, cluster: Cluster, what: str, source: str) -> Parcel:
    return Parcel(
        sha256=delivery.sha256,
        size=delivery.size,
        path=f"{cluster.images_folder}/{delivery.sha256}.sif",
        what=what,
        source=source,
    )
