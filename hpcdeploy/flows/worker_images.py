"""Find images that an HTCondor worker gets itself: from a registry, a URL, or CVMFS."""

import re

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError
from hpcdeploy.registry.reference import parse_image
from hpcdeploy.scheduler.login_node import Delivery

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
