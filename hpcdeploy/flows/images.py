"""Decide where a job's image comes from: a registry, the cluster's cache, this machine, or a download by the worker."""

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
_BY_NAME = "use a file name that contains the image's sha256, because HTCondor's caches identify a file by its name"


def worker_delivery(image: str) -> Delivery | None:
    """Return the delivery of an `image` that an HTCondor worker gets without the login node; None for other images.

    There are two kinds of such images:

    - ``docker://HOST/PATH@sha256:...`` and paths on CVMFS, which the program that starts the container reads
    - URLs such as ``osdf:///...``, which HTCondor's plugins transfer

    `image` must identify its content: by a manifest's digest, or by the sha256 in the last component of its path.

    Raises:
        ConfigError: `image` does not identify its content, so its content could change before the run; or it cannot be used
            in a submit description.
    """
    if image.startswith("docker://"):
        reference = parse_image(image)
        if not reference.digest:
            raise ConfigError(
                f"the image {image} may change before the job starts; use its digest, docker://HOST/PATH@sha256:... "
                "('skopeo inspect' shows it), or define an image of the project with oci = ... and push that image"
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
            f"{image!r} is not an image URL that HTCondor can transfer; expected docker://, or a URL that ends in .sif with "
            "osdf://, pelican://, stash://, http://, https://, s3:// or gs://"
        )
    return Delivery(sha256=_digest_in(image), place=image, in_job=True)


def check_worker_delivery(delivery: Delivery, cluster: Cluster, scheduler: SchedulerName) -> None:
    """Raise `ConfigError` if only an HTCondor worker can fetch the image, but no worker will do so.

    The job runs in Slurm, or `cluster` does not let HTCondor transfer the image.
    """
    if not delivery.place:
        return
    if scheduler == "slurm":
        raise ConfigError(
            f"only HTCondor's workers can fetch {delivery.place}; for Slurm use an image of the project, a .sif or an "
            "oras:// reference (image-route in the cluster's settings decides how Slurm jobs get such images)"
        )
    if cluster.htcondor_container == "apptainer" and not delivery.place.startswith(("docker://", "/")):
        raise ConfigError(
            f"only HTCondor's file transfer can fetch {delivery.place}, but cluster {cluster.name} does not use it for "
            'images (htcondor-container = "apptainer"); use an image of the project, a .sif, or an oras:// reference'
        )


def _digest_in(image: str) -> str:
    """Return the sha256 in the last component of an image's path; raise `ConfigError` if there is none."""
    found = _DIGEST.search(image.rstrip("/").rpartition("/")[2])
    if found is None:
        raise ConfigError(f"the image {image} may change before the job starts; {_BY_NAME}")
    return found[0]


Resolve = Callable[[str], PublishedImage]
"""Look up a reference (``oras://...``) in its registry."""

Head = Callable[[PublishedImage, int], bytes]
"""Download the first bytes of a published image; the second argument is their number."""

UsesPlainHttp = Callable[[str], bool]
"""Tell whether the registry of a repository uses plain HTTP. By default only registries on loopback do, as for docker."""


@frozen
class RegistryLookup:
    """The functions that find an image in a registry.

    Attributes:
        resolve: Looks up a reference; called for ``oras://`` references, and for images that the record has no build of.
        plain_http: Tells whether a repository's registry uses plain HTTP.
        head: Downloads the header of an image that is only in a registry; by default nothing is downloaded.
    """

    resolve: Resolve
    plain_http: UsesPlainHttp
    head: Head = lambda _image, _most: b""


def delivery_of(image: str, project: Project, cluster: Cluster, store: Store, registries: RegistryLookup) -> Delivery:
    """Return how `cluster` gets `image`.

    For an image of the project, the first of these points that applies is used:

    - The image has no recorded build: the newest image in its first repository is pulled (`newest_reference`).
    - The latest recorded build was pushed: it is pulled by digest from its registry.
    - The latest build is in this cluster's cache, or its file is on this machine: the build in the cache is used, and the
      file is uploaded if the cache lacks it.
    - This cluster has an earlier build with the same content, or from the same inputs: the earlier build is used.

    Args:
        image: The name of an image of the project, the path of a ``.sif`` on this machine, an ``oras://`` reference, or an
            image that an HTCondor worker gets without the login node (`worker_delivery`).
        project: The project.
        cluster: The cluster that will run the job.
        store: The record of runs and images.
        registries: Looks up images in registries.

    Raises:
        ConfigError: `cluster` cannot get the image, a ``.sif`` cannot be read, or the content of `image` may change.
        RegistryError: A registry query failed.
    """

    def pulled(published: PublishedImage) -> Delivery:
        return _from_registry(published, cluster, plain_http=registries.plain_http(published.repository))

    if image.startswith("oras://"):
        return pulled(registries.resolve(image))
    if image not in project.images:
        elsewhere = worker_delivery(image)
        if elsewhere is not None:
            return elsewhere
        return _local_file(Path(image), cluster, f"the image {Path(image).name}")
    built = store.latest_build(project.root, image)
    if built is None:
        repositories = project.images[image].repositories
        if not repositories:
            raise ConfigError(f"the image {image!r} was not built yet, and has no repository; run 'hpcdeploy build'")
        return pulled(registries.resolve(newest_reference(image, project)))
    publications = store.publications(built.sha256)
    if publications:
        return replace(pulled(publications[0]), untested=built.untested)
    return _unpushed(built, store.latest_build_on(project.root, image, cluster.name), cluster)


def newest_reference(image: str, project: Project) -> str:
    """Return the reference that `push` gives to the newest image in the first repository of an image of the project.

    The tag is ``latest``, or the image's name if several images of the project share the repository.
    """
    from hpcdeploy.tags import tags_beside_others

    repository = project.images[image].repositories[0]
    shared = any(repository in other.repositories for name, other in project.images.items() if name != image)
    tags = tags_beside_others(("latest",), image) if shared else ()
    return f"oras://{repository}:{tags[0] if tags else 'latest'}"


def published_of(delivery: Delivery) -> PublishedImage | None:
    """Return the image in a registry that `delivery` uses; None if the image does not come from a registry."""
    address = delivery.reference or (delivery.upload.source if delivery.upload else "")
    repository, separator, manifest = address.removeprefix("oras://").partition("@sha256:")
    if not address.startswith("oras://") or not separator:
        return None
    return PublishedImage(repository=repository, manifest=manifest, sha256=delivery.sha256, size=delivery.size)


def _from_registry(published: PublishedImage, cluster: Cluster, *, plain_http: bool) -> Delivery:
    """Return how a cluster gets an image from a registry; this depends on the cluster's ``image-route``."""
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
    """Return how a cluster gets an image that was not pushed: from the cluster's cache, or by an upload from this machine.

    Args:
        built: The latest build of the image.
        built_there: The latest build of the image on this cluster; None if there is none.
        cluster: The cluster.

    Raises:
        ConfigError: The image is neither on this machine nor in the cluster's cache, and the cluster has no build from the
            same inputs.
    """
    on_cluster = cluster.name in (built.built_on, built.cached_on)
    is_here = bool(built.path) and Path(built.path).is_file()
    if not on_cluster and not is_here:
        if built_there and (built_there.sha256 == built.sha256 or built_there.inputs == built.inputs):
            return Delivery(sha256=built_there.sha256, size=built_there.size)
        gone = f" and {built.path} was removed," if built.path else ""
        elsewhere = f" and is stored only on {built.built_on}," if built.built_on else ""
        first = "'hpcdeploy push' first" if built.built_on else "'hpcdeploy build' again"
        raise ConfigError(
            f"the image {built.name!r} was built but never pushed,{elsewhere or gone} so {cluster.name} cannot get it; run "
            f"{first}, or build the image on {cluster.name}: 'hpcdeploy build --on {cluster.name}'"
        )
    delivery = Delivery(sha256=built.sha256, size=built.size, untested=built.untested)
    if not is_here:
        return delivery
    source = str(Path(built.path).resolve())
    return replace(delivery, upload=_upload_of(delivery, cluster, f"the image {built.name}", source))


def _local_file(path: Path, cluster: Cluster, what: str) -> Delivery:
    """Return the upload of a ``.sif`` on this machine; raise `ConfigError` if it is not a complete ``.sif``."""
    from hpcdeploy.apptainer.sif import read_sif

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block until another process writes to it
            raise ConfigError(f"the image {path} is not a regular file; expected a .sif that Apptainer has built")
        with path.open("rb") as file:
            read_sif(file, str(path))  # report an incomplete copy here, not in each job
        delivery = Delivery(sha256=sha256_of(path), size=path.stat().st_size)
    except OSError as error:
        raise ConfigError(f"the image {path} cannot be read: {error.strerror}; expected a readable .sif") from error
    return replace(delivery, upload=_upload_of(delivery, cluster, what, str(path.resolve())))


def _upload_of(delivery: Delivery, cluster: Cluster, what: str, source: str) -> StagedFile:
    return StagedFile(
        sha256=delivery.sha256,
        size=delivery.size,
        path=f"{cluster.images_folder}/{delivery.sha256}.sif",
        what=what,
        source=source,
    )
