"""Keys that a later place replaces in its scheduler's own words: ``memory`` in a cluster's defaults, ``slurm.mem`` in a job.

An option of an earlier place can be taken away (``false``), a key cannot: without this, a default for ``memory`` would leave
a job no way to ask for all memory of a node.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.directives import twins
from hpcdeploy.config.gres import asks_twice
from hpcdeploy.config.project import JobSettings
from hpcdeploy.job import Resources

_KEYS = frozenset(field.name for field in fields(Resources))
"""Keys that a cluster's defaults may set."""


def without_replaced(places: Sequence[JobSettings], cluster: Cluster) -> tuple[JobSettings, ...]:
    """Take from each place the keys that a later one says in the words of the cluster's scheduler.

    With two schedulers they stay, and are refused beside such words: for the other scheduler nothing would replace them.
    """
    if len(cluster.schedulers) > 1:
        return tuple(places)
    kept: list[JobSettings] = []
    for place in places:
        gone: dict[str, Any] = dict.fromkeys(_replaced(place, cluster.schedulers[0]))
        kept = [*(replace(earlier, **gone) for earlier in kept), place]
    return tuple(kept)


def _replaced(place: JobSettings, scheduler: SchedulerName) -> list[str]:
    given = {name.lower() for name, value in getattr(place, scheduler) if value is not False}
    return [
        field
        for key, same in twins(scheduler).items()
        if (field := key.replace("-", "_")) in _KEYS
        and any(name in given and (key != "gpus" or scheduler != "slurm" or asks_twice(place.slurm, name)) for name in same)
    ]
