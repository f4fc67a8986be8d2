"""Which image a job means, and how the login node can have it."""

from collections.abc import Callable

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import PublishedImage
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.store import Store

Resolve = Callable[[str], PublishedImage]
"""Asks a registry what a reference (``oras://...``) stands for now."""

SpeaksPlainHttp = Callable[[str], bool]
"""Tells of a repository whether its registry is spoken to without TLS: those on loopback are, as docker and oras do."""


def delivery_of(
    image: str, project: Project, cluster: Cluster, store: Store, resolve: Resolve, plain_http: SpeaksPlainHttp
) -> Delivery:
    """Say how a login node gets `image`: an image of the project, or an ``oras://`` reference.

    An image of the project is the one last built here: pulled, pinned by digest, from where it was pushed; or, where
    it was built on this very cluster, fetched since or not, taken from its cache. One that was never built here is what
    its first repository calls ``latest``. Raises `ConfigError` where the image is neither in a registry nor in this
    cluster's cache.
    """

    def pulled(published: PublishedImage) -> Delivery:
        return Delivery(
            sha256=published.sha256,
            reference=published.reference,
            size=published.size,
            plain_http=plain_http(published.repository),
        )

    if image.startswith("oras://"):
        return pulled(resolve(image))
    if image not in project.images:
        raise ConfigError(f"{image} is a file: push it to a registry first, and name it by its oras:// reference")
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
    if cluster.name not in (built.built_on, built.cached_on):
        raise ConfigError(
            f"the image {image!r} was built but never pushed, so {cluster.name} cannot have it; run 'hpcdeploy push' first, "
            f"or build it there: 'hpcdeploy build --on {cluster.name}'"
        )
    return Delivery(sha256=built.sha256, size=built.size)
