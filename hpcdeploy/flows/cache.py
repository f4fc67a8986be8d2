"""List, prune and verify what hpcdeploy keeps to build faster, on this machine or on a cluster."""

from collections.abc import Iterable
from dataclasses import replace

from hpcdeploy.apptainer.local_cache import LocalCache, list_items, remove_item, verify_images
from hpcdeploy.cache_items import CacheItem, to_remove
from hpcdeploy.remote.cache import manage
from hpcdeploy.remote.session import Session

Where = LocalCache | Session
"""The cache of this machine, or a session with the cluster that has the cache."""


def items(where: Where) -> tuple[CacheItem, ...]:
    """Return what the cache keeps.

    Raises:
        SchedulerError: The login node's answer cannot be parsed.
        TransportError: The connection failed.
    """
    return list_items(where) if isinstance(where, LocalCache) else manage(where, "list")


def prune(where: Where, found: Iterable[CacheItem], keep: int) -> tuple[CacheItem, ...]:
    """Remove the least recently used items of `found`, until at most `keep` bytes are left; return the examined items.

    What a build, or a queued or running job uses is kept. This is checked again when an item is removed.

    Raises:
        SchedulerError: The login node's answer cannot be parsed; items may have been removed.
        TransportError: The connection failed; items may have been removed.
    """
    chosen = to_remove(found, keep)
    if isinstance(where, LocalCache):
        return tuple(replace(item, verdict=remove_item(where, item)) for item in chosen)
    sizes = {(item.kind, item.name): item for item in chosen}
    done = manage(where, "remove", chosen) if chosen else ()
    return tuple(
        replace(sizes[item.kind, item.name], verdict=item.verdict) for item in done if (item.kind, item.name) in sizes
    )


def verify(where: Where, *, dry_run: bool = False) -> tuple[CacheItem, ...]:
    """Compare the images with their checksums, and move damaged ones aside, unless `dry_run` is set; return the images.

    Raises:
        SchedulerError: The login node's answer cannot be parsed.
        TransportError: The connection failed.
    """
    if isinstance(where, LocalCache):
        return tuple(verify_images(where, dry_run=dry_run))
    return manage(where, "verify", dry_run=dry_run)
