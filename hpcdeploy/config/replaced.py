"""Remove keys that a later source replaces by options: ``memory`` in a cluster's defaults, ``slurm.mem`` in a job.

An option of an earlier source can be removed (``false``), a key cannot: without this, a job could not request all memory of
a node if the cluster has a default for ``memory``.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.directives import twins
from hpcdeploy.config.project import JobSettings
from hpcdeploy.job import Resources

_KEYS = frozenset(field.name for field in fields(Resources))
"""Keys that a cluster's defaults may set."""


def without_replaced(places: Sequence[JobSettings], cluster: Cluster) -> tuple[JobSettings, ...]:
    """Remove from each source the keys that a later one replaces by options of the cluster's scheduler.

    With two schedulers they remain, and are rejected beside such options: for the other scheduler they would not be
    replaced.
    """
    if len(cluster.schedulers) > 1:
        return tuple(places)
    kept: list[JobSettings] = []
    for place in places:
        removed: dict[str, Any] = dict.fromkeys(_replaced(place, cluster.schedulers[0]))
        kept = [*(replace(earlier, **removed) for earlier in kept), place]
    return tuple(kept)


def _replaced(place: JobSettings, scheduler: SchedulerName) -> list[str]:
    replaced = (key.replace("-", "_") for key, _ in twins(scheduler, getattr(place, scheduler)))
    return [field for field in replaced if field in _KEYS]
