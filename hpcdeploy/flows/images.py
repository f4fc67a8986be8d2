"""Find how a job gets its image: from a registry, from the cluster's cache, from this machine, or by its worker."""

import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.registry.reference import parse_image, parse_reference, split_port
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of

_URL = re.compile(r"(osdf|pelican|stash|https?|s3|gs)://[A-Za-z0-9._~:/@%+=-]+")
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_BY_NAME = "use a file name that contains its sha256, because caches identify a file by its name"


def taken_by_worker(image: str) -> Delivery | None:
    """Return how a worker itself gets `image`; None for other images.

    The container's starter reads ``docker://HOST/PATH@sha256:...`` and paths on CVMFS; HTCondor's plugins transfer URLs such
    as ``osdf:///...``. Each must identify its content, by a manifest's digest or by the sha256 in the last part of its name.

    Raises:
        ConfigError: `image` does not identify its content, so a run could use any image.
    """
    if image.startswith("docker://"):
        reference = parse_image(image)
        if not reference.digest:
            raise ConfigError(
                f"the image {image} may change: use its digest, docker://HOST/PATH@sha256:... "
                "(skopeo inspect shows it), or make an image of it (oci = ...) and push that"
            )
        pinned = f"docker://{reference.host}/{reference.path}@{reference.digest}"
        return Delivery(sha256=reference.digest.removeprefix("sha256:"), place=pinned, in_job=True)
    if image.startswith("/cvmfs/"):
        if not re.fullmatch(r"[A-Za-z0-9._/@:+=-]+", image):
            raise ConfigError(
                f"{image!r} cannot be written in a submit description: use letters, digits and . _ / @ : + = -"
            )
        return Delivery(sha256=_digest_in(image), place=image, in_job=True)
    if "://" not in image or image.startswith("oras://"):
        return None
    if not _URL.fullmatch(image) or not image.endswith(".sif"):
        raise ConfigError(
            f"{image!r} is not a URL that HTCondor can transfer: expected docker://, osdf://, pelican://, "
            "stash://, https://, s3:// or gs://, and a name that ends in .sif except for docker://"
        )
    return Delivery(sha256=_digest_in(image), place=image, in_job=True)


def refuse_elsewhere(delivery: Delivery, cluster: Cluster, scheduler: SchedulerName) -> None:
    """Raise `ConfigError` if neither scheduler nor worker would fetch the image that `delivery` leaves to the worker."""
    if not delivery.place:
        return
    if scheduler == "slurm":
        raise ConfigError(
            f"{delivery.place} is fetched by workers of HTCondor only; for Slurm use an image of the project, a .sif or an "
            "oras:// reference, and see image-route in the cluster's settings"
        )
    if cluster.htcondor_container == "apptainer" and not delivery.place.startswith(("docker://", "/")):
        raise ConfigError(
            f"{delivery.place} is fetched by HTCondor's file transfer, which cluster {cluster.name} does not use "
            '(htcondor-container = "apptainer"); use an image of the project, a .sif, or an oras:// reference'
        )


def _digest_in(image: str) -> str:
    found = _DIGEST.search(image.rstrip("/").rpartition("/")[2])
    if found is None:
        raise ConfigError(f"the image {image} may change: {_BY_NAME}")
    return found[0]


Resolve = Callable[[str], PublishedImage]
"""Look up a reference (``oras://...``) in its registry."""

SpeaksPlainHttp = Callable[[str], bool]
"""Tell whether the registry of a repository uses plain HTTP; by default those on loopback do, as for docker and oras."""


@frozen
class RegistryLookup:
    """What is asked of registries to find an image.

    Attributes:
        resolve: Looks up a reference; called only for an image that was not built here.
        plain_http: Tells whether a repository's registry uses plain HTTP.
    """

    resolve: Resolve
    plain_http: SpeaksPlainHttp


def delivery_of(image: str, project: Project, cluster: Cluster, store: Store, registries: RegistryLookup) -> Delivery:
    """Return how a login node gets `image`.

    `image` is an image of the project, a ``.sif`` on this machine, an ``oras://`` reference, or an image that an HTCondor
    worker gets itself (`taken_by_worker`). Of an image of the project the latest build is used. It is pulled by digest from
    its registry, used from the cache of the cluster where it was built, or uploaded from this machine. If it was built on
    several clusters from the same inputs, each uses its own build. An image that was never built here is ``latest`` in its
    first repository.

    Args:
        image: The image.
        project: The project.
        cluster: The cluster.
        store: The record.
        registries: Looks up an image that was pushed.

    Raises:
        ConfigError: The image is neither in a registry nor here nor in this cluster's cache.
        RegistryError: A registry query failed.
    """

    def pulled(published: PublishedImage) -> Delivery:
        return _from_registry(published, cluster, plain_http=registries.plain_http(published.repository))

    if image.startswith("oras://"):
        return pulled(registries.resolve(image))
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
        return pulled(registries.resolve(f"oras://{repositories[0]}:latest"))
    publications = store.publications(built.sha256)
    if publications:
        return pulled(publications[0])
    return _unpushed(built, store.latest_build_on(project.root, image, cluster.name), cluster)


def published_of(delivery: Delivery) -> PublishedImage | None:
    """Return the image in a registry that `delivery` uses; None if it has another source."""
    address = delivery.reference or (delivery.upload.source if delivery.upload else "")
    repository, digest, manifest = address.removeprefix("oras://").partition("@sha256:")
    if not address.startswith("oras://") or not digest:
        return None
    return PublishedImage(repository=repository, manifest=manifest, sha256=delivery.sha256, size=delivery.size)


def _from_registry(published: PublishedImage, cluster: Cluster, *, plain_http: bool) -> Delivery:
    """Return how a login node gets an image from a registry, by the cluster's ``image-route``."""
    delivery = Delivery(sha256=published.sha256, size=published.size)
    if cluster.image_route in ("auto", "stream"):
        name = published.repository.rpartition("/")[2]
        delivery = replace(delivery, upload=_upload_of(delivery, cluster, f"the image {name}", published.reference))
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
    source = str(Path(built.path).resolve())
    return replace(delivery, upload=_upload_of(delivery, cluster, f"the image {built.name}", source))


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
    return replace(delivery, upload=_upload_of(delivery, cluster, what, str(path.resolve())))


def _upload_of(delivery: Delivery, cluster: Cluster, what: str, source: str) -> StagedFile:
    return StagedFile(
        sha256=delivery.sha256,
        size=delivery.size,
        path=f"{cluster.images_folder}/{delivery.sha256}.sif",
        what=what,
        source=source,
    )
