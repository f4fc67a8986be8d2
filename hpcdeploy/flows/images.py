"""Which image a job means, and how the login node can have it."""

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
"""Asks a registry what a reference (``oras://...``) stands for now."""

SpeaksPlainHttp = Callable[[str], bool]
"""Tells of a repository whether its registry is spoken to without TLS: those on loopback are, as docker and oras do."""


def delivery_of(
    image: str, project: Project, cluster: Cluster, store: Store, resolve: Resolve, plain_http: SpeaksPlainHttp
) -> Delivery:
    """Say how a login node gets `image`: an image of the project, a ``.sif`` of this machine, an ``oras://`` reference,
    or what a worker itself takes it from (`taken_by_worker`).

    An image of the project is the one last built here: pulled, pinned by digest, from where it was pushed; or, where
    it was built on this very cluster, fetched since or not, taken from its cache; or brought from where it lies here. If it
    was built on several clusters one after the other, each takes its own build, as long as all were of the same inputs. One
    that was never built here is what its first repository calls ``latest``. Raises `ConfigError` where the image is neither
    in a registry nor here nor in this cluster's cache.
    """

    def pulled(published: PublishedImage) -> Delivery:
        return _from_registry(published, cluster, plain_http=plain_http(published.repository))

    if image.startswith("oras://"):
        return pulled(resolve(image))
    if image not in project.images:
        elsewhere = taken_by_worker(image)
        if elsewhere is not None:
            return elsewhere
        return _brought(Path(image), cluster, f"the image {Path(image).name}")
    built = store.latest_build(project.root, image)
    if built is None:
        repositories = project.images[image].repositories
        if not repositories:
            raise ConfigError(
                f"the image {image!r} was not built yet, and has no repository to come from; run 'hpcdeploy build'"
            )
        return pulled(resolve(f"oras://{repositories[0]}:latest"))
    publications = store.publications(built.sha256)
    if publications:
        return pulled(publications[0])
    return _unpushed(built, store.latest_build_on(project.root, image, cluster.name), cluster)


def published_of(delivery: Delivery) -> PublishedImage | None:
    """Return the image of a registry that `delivery` brings; None where it comes from elsewhere."""
    address = delivery.reference or (delivery.parcel.source if delivery.parcel else "")
    repository, digest, manifest = address.removeprefix("oras://").partition("@sha256:")
    if not address.startswith("oras://") or not digest:
        return None
    return PublishedImage(repository=repository, manifest=manifest, sha256=delivery.sha256, size=delivery.size)


def _from_registry(published: PublishedImage, cluster: Cluster, *, plain_http: bool) -> Delivery:
    """Say how a login node gets an image of a registry: by the cluster's route."""
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
    """Say how a login node gets an image that no registry has: out of its own cache, or from the file here.

    `built_there` is what was last built on that cluster.
    """
    there = cluster.name in (built.built_on, built.cached_on)
    lies_here = bool(built.path) and Path(built.path).is_file()
    if not there and not lies_here:
        if built_there and (built_there.sha256 == built.sha256 or built_there.inputs == built.inputs):
            return Delivery(sha256=built_there.sha256, size=built_there.size)
        gone = f" and {built.path} is gone," if built.path else ""
        elsewhere = f" and lies on {built.built_on} alone," if built.built_on else ""
        raise ConfigError(
            f"the image {built.name!r} was built but never pushed,{elsewhere or gone} so {cluster.name} cannot have it; run "
            f"'hpcdeploy push' first, or build it there: 'hpcdeploy build --on {cluster.name}'"
        )
    delivery = Delivery(sha256=built.sha256, size=built.size)
    if not lies_here:
        return delivery
    return replace(delivery, parcel=_parcel(delivery, cluster, f"the image {built.name}", str(Path(built.path).resolve())))


def _brought(path: Path, cluster: Cluster, what: str) -> Delivery:
    from hpcdeploy.apptainer.sif import read_sif

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write into it
            raise ConfigError(f"the image {path} is no file; expected a .sif that Apptainer has built")
        with path.open("rb") as file:
            read_sif(file, str(path))  # a copy that was cut off is told here, and not by each job
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
