"""List the tags of a repository with digest, date and size, the newest first."""

import re
from collections.abc import Sequence

from hpcdeploy import limits
from hpcdeploy.frozen import frozen
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.tag_details import TagDetails


@frozen
class Listed:
    """The tags of a repository.

    Attributes:
        repository: ``HOST/PATH``.
        tags: The tags, the newest first. Tags without a date are last.
        undescribed: The number of tags in `tags` whose manifests were not read, because the repository has more than
            `hpcdeploy.limits.MOST_TAGS_DESCRIBED` tags.
    """

    repository: str
    tags: Sequence[TagDetails]
    undescribed: int = 0


def list_tags(registry: Registry) -> Listed:
    """List the tags of the registry's repository. If the reference has a tag or a digest, list only the matching tags.

    The manifests of at most `hpcdeploy.limits.MOST_TAGS_DESCRIBED` tags are read, the highest versions first. The other tags
    are listed by name only.

    Raises:
        RegistryError: The registry rejected a request, or cannot be reached.
        AuthenticationError: The registry rejected the login.
    """
    reference = registry.reference
    names = [reference.tag] if reference.tag else sorted(registry.tags(), key=version_key, reverse=True)
    described, others = names[: limits.MOST_TAGS_DESCRIBED], names[limits.MOST_TAGS_DESCRIBED :]
    found = [*registry.tag_details(described), *(TagDetails(tag=name) for name in others)]
    if reference.digest:
        found = [one for one in found if one.digest == reference.digest]
    found.sort(key=lambda one: (one.created, version_key(one.tag)), reverse=True)
    return Listed(repository=reference.repository, tags=tuple(found), undescribed=len(others))


def version_key(tag: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which tags are sorted like versions: ``1.9`` before ``1.10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", tag)
    return tuple((1, int(part[:18]), part) if "0" <= part[0] <= "9" else (0, 0, part) for part in parts)
