"""Which image a job means, and how the login node can have it."""

from collections.abc import Callable
from pathlib import Path

from hpcdeploy.apptainer.record import read_record
from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.reference import is_loopback, parse_reference
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.store import Store


def delivery_of(
    image: str, project: Project, cluster: Cluster, store: Store, resolve: Callable[[str], PublishedImage]
) -> Delivery:
    """Say how a login node gets `image`: an image of the project, a path to a ``.sif``, or an ``oras://`` reference.

    An image of the project is the one that was last built here; where it was pushed, that is where it is pulled from, pinned
    by digest. One that was never built here is what its first repository calls ``latest``. Raises `ConfigError` where the
    image is neither in a registry nor in this cluster's cache.
    """
    if image.startswith("oras://"):
        return _pulled(resolve(image))
    settings = project.images.get(image)
    record = read_record(project.root, image) if settings else None
    if record is None and settings and settings.repositories:
        return _pulled(resolve(f"oras://{settings.repositories[0]}:latest"))
    if record is None:
        raise ConfigError(
            f"the image {image!r} was not built yet, and has no repository to come from; run 'hpcdeploy build'"
        )
    publications = store.publications(record.sha256)
    if publications:
        return _pulled(publications[0])
    if record.built_on != cluster.name:
        raise ConfigError(
            f"the image {image!r} was built here but never pushed, so {cluster.name} cannot have it; run 'hpcdeploy push' first, "
            f"or build it there with 'hpcdeploy build --on {cluster.name}'"
        )
    return Delivery(sha256=record.sha256, size=record.size)
