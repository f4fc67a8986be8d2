"""Parse requests for GPUs in options of ``sbatch``, as Slurm itself parses them."""

import re
from collections.abc import Iterator

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Directives, Job

GPU_OPTIONS = ("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task")
"""Options with a list of ``[TYPE:]NUMBER`` (sbatch(1)); Slurm adds ``gres/gpu:`` before each item."""

_SHARES = frozenset({"mps", "shard"})
"""Generic resources that are parts of a GPU (gres.conf(5), "MPS Management", "Set up of sharding").

Slurm rejects a job that requests both a part of a GPU and whole GPUs.
"""

_WHOLE_NODES = frozenset({"true", "exclusive", "allocation"})
"""Values of ``--exclusive`` that give a job all generic resources of its nodes; ``true`` means the option without a value.

The other values (``user``, ``mcs``, ``topo``) let jobs share the resources of a node. Source: sbatch(1); arg_set_exclusive
in src/common/slurm_opt.c of Slurm 26.11rc1.
"""


@frozen
class Gres:
    """A requested generic resource: its name, its type (`kind`; empty for any type), and its count."""

    name: str
    kind: str = ""
    count: int = 1

    @property
    def wanted(self) -> bool:
        """Tell whether the count is above zero."""
        return self.count > 0

    @property
    def is_gpu(self) -> bool:
        """Tell whether the resource is a GPU, a part of one, or a site's own name for GPUs (``gpu_a100``, ``accel:gpu``)."""
        return self.name in _SHARES or "gpu" in f"{self.name}:{self.kind}".lower()


def in_gres(directives: Directives) -> tuple[Gres, ...]:
    """Return the requests of the option ``gres``.

    Requests for a count of zero are included, because Slurm regards ``gres`` as set even then.
    """
    return tuple(_parse(_values_by_option(directives).get("gres", "")))


def requests_gpus(directives: Directives) -> bool:
    """Tell whether options of ``sbatch`` request GPUs; a count of zero is not a request."""
    options = _values_by_option(directives)
    # ntasks-per-gpu is a request, because Slurm derives the number of GPUs from it if no other option sets it (sbatch(1)).
    return "ntasks-per-gpu" in options or any(one.is_gpu and one.wanted for one in _requests(options))


def requests_gpus_too(directives: Directives, option: str) -> bool:
    """Tell whether `option` requests GPUs in addition to the key ``gpus``."""
    options = _values_by_option(directives)
    if option not in ("gres", "tres-per-task"):
        return option in options
    found = _parse(options.get("gres", "")) if option == "gres" else _requests_per_task(options)
    return any(one.name == "gpu" or one.name in _SHARES for one in found)


def gpus_in_gres(directives: Directives) -> int:
    """Return the number of whole GPUs per node that ``gres`` requests, including resources with a site's name for GPUs."""
    return sum(one.count for one in in_gres(directives) if one.is_gpu and one.name not in _SHARES)


def has_whole_nodes(directives: Directives) -> bool:
    """Tell whether a job gets all resources of its nodes, including GPUs, without requesting them."""
    return _values_by_option(directives).get("exclusive", "").lower() in _WHOLE_NODES


def _values_by_option(directives: Directives) -> dict[str, str]:
    """Return the values of options as text, without options that ``false`` removes."""
    return {option: str(value) for option, value in directives if value is not False}


def _requests(options: dict[str, str]) -> Iterator[Gres]:
    yield from _parse(options.get("gres", ""))
    yield from _requests_per_task(options)
    for option in GPU_OPTIONS:
        yield from _parse(",".join(f"gpu:{one}" for one in options.get(option, "").split(",") if one))


def _requests_per_task(options: dict[str, str]) -> Iterator[Gres]:
    """Parse the generic resources in ``tres-per-task``; other items of the list, such as ``cpu=8``, are ignored."""
    found = options.get("tres-per-task", "").split(",")
    yield from _parse(",".join(one for one in found if re.match("gres[/:]", one.strip())))


def _parse(words: str) -> Iterator[Gres]:
    """Parse a list of ``NAME[[:TYPE]:COUNT]`` (sbatch(1)).

    The count is the text after the last ``=``, or without ``=`` the text after the last ``:``. It is a whole number with an
    optional unit; without ``=`` any other text is the type. A count of zero requests nothing (slurm_get_next_tres in
    src/common/slurm_protocol_defs.c of Slurm 26.11rc1).
    """
    for entry in words.split(","):
        name = re.sub("^gres[/:]", "", entry.strip())
        before, sign, last = name.rpartition("=" if "=" in name else ":")
        count = re.fullmatch("([0-9]+)(?:[kKmMgGtTpP](?:i?[bB])?)?", last) if sign else None
        if count or "=" in name:
            name = before
        if name:
            name, _, kind = name.partition(":")
            # Only nine digits are read: they are enough for any count, and int() raises an error for thousands of digits.
            yield Gres(name=name, kind=kind, count=int(count[1].lstrip("0")[:9] or 0) if count else 1)


def gpu_options(slurm: Directives) -> list[str]:
    """Return the names of the options in `slurm` that request GPUs."""
    return [option for option, value in slurm if requests_gpus(((option, value),))]


def gpu_submit_commands(htcondor: Directives) -> list[str]:
    """Return the names of the submit commands in `htcondor` that request GPUs.

    These are the commands ``request_NAME`` with ``gpu`` in the name, because a pool can define its own resources
    (condor_submit(1), ``request_<name>``). A command whose value is the number zero is not a request. Any other value may be
    an expression that is not zero.
    """
    return [name for name, value in htcondor if _asks_for_gpus(name) and not re.fullmatch(" *0+ *", str(value))]


def _asks_for_gpus(name: str) -> bool:
    first, underscore, resource = name.lower().partition("_")
    return first == "request" and bool(underscore) and "gpu" in resource


def check_no_gpus(job: Job, cluster: Cluster) -> None:
    """Check that a job with ``gpus = 0`` has no option that requests GPUs; the cluster's defaults may have set the option.

    Raises:
        ConfigError: The job has such an option.
    """
    if job.resources.gpus != 0:
        return
    asking = [f"slurm.{name}" for name in gpu_options(job.slurm) if "slurm" in cluster.schedulers]
    asking += [f"htcondor.{name}" for name in gpu_submit_commands(job.htcondor) if "htcondor" in cluster.schedulers]
    if asking:
        raise ConfigError(
            f"job {job.name} on {cluster.name}: gpus = 0 requests no GPU, but {' and '.join(asking)} does; expected only "
            'one of the two. To remove an option that the cluster\'s defaults set, set it to false in slurm, or to "0" in '
            "htcondor"
        )
