"""Define what a cache keeps, and choose what to remove from it."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from hpcdeploy.frozen import frozen

Kind = Literal["image", "environment", "downloads", "layers", "unfinished", "damaged"]
"""The kinds of items:

- ``image``: a built image.
- ``environment``: an image without code, to copies of which code is appended.
- ``downloads``: what package managers downloaded for an image of a project.
- ``layers``: Apptainer's own cache of base images.
- ``unfinished``: files of a build or a transfer that was interrupted.
- ``damaged``: an image whose content differed from its record.
"""

KINDS: frozenset[str] = frozenset(get_args(Kind))

KEPT = {
    "used": "a queued or running job, or a build, uses it",
    "shared": "other users can read the image cache, and their jobs are not known",
    "unknown": "it is not known which images the queued jobs use",
}
"""Verdicts on items that must not be removed, with their reasons."""

VERDICTS = frozenset({"free", "removed", "gone", "failed", "moved", "intact", "damaged", *KEPT})
"""What can be done with an item, or was done:

- ``free``: it can be removed.
- ``removed``, ``gone``, ``failed``: the result of an attempt to remove it.
- ``intact``, ``damaged``, ``moved``: the result of a comparison with its checksum. ``moved`` is a damaged image that was
  moved aside.
- the keys of `KEPT`: it must not be removed.
"""


@frozen
class CacheItem:
    """A file or folder that a cache keeps.

    Attributes:
        kind: The kind of the item (`Kind`).
        name: The name of the item in the cache.
        verdict: What can be done with the item, or was done (`VERDICTS`).
        size: The space that it takes, in bytes. It is 0 for an image that is also a file of a project, since removing one
            of the two names would free nothing.
        used: The time of the last use, in seconds since 1970; 0 if unknown.
        image: The name of the image in the settings of its project; empty if unknown.
        project: The project's folder; empty if unknown.
        key: The key of the image; empty if unknown.
        environment: The key of the image's environment; empty if unknown.
    """

    kind: str
    name: str
    verdict: str = "free"
    size: int = 0
    used: int = 0
    image: str = ""
    project: str = ""
    key: str = ""
    environment: str = ""


def to_remove(items: Iterable[CacheItem], keep: int) -> tuple[CacheItem, ...]:
    """Return the free items to remove, so that at most `keep` bytes remain if possible.

    Damaged and unfinished items are always removed. Then the least recently used items are removed, until the rest fits.
    Items without a size are kept, because removing them frees nothing, unless `keep` is 0.
    """
    listed = list(items)
    worthless = [item for item in listed if item.verdict == "free" and item.kind in ("damaged", "unfinished")]
    total = sum(item.size for item in listed) - sum(item.size for item in worthless)
    chosen = list(worthless)
    for item in sorted(listed, key=lambda item: (item.used, item.name)):
        if item in worthless or item.verdict != "free":
            continue
        if total > keep or keep == 0:
            if item.size or keep == 0:
                chosen.append(item)
            total -= item.size
    return tuple(chosen)


def sharing(items: Sequence[CacheItem]) -> dict[str, tuple[str, ...]]:
    """Return the names of the images that have the same environment, by the key of the environment."""
    found: dict[str, list[str]] = {}
    for item in items:
        if item.environment:
            found.setdefault(item.environment, []).append(item.image or item.name)
    return {key: tuple(names) for key, names in found.items() if len(names) > 1}
