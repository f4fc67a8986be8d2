"""GPUs in Slurm's own words: every way in which the options of ``sbatch`` ask for some, as Slurm itself reads them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hpcdeploy.job import Directives

GPU_OPTIONS = ("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task")
"""Options whose value is a list of ``[TYPE:]NUMBER`` (sbatch(1)); Slurm puts ``gres/gpu:`` before each."""

_SHARES = frozenset({"mps", "shard"})
"""Parts of a GPU (gres.conf(5), "MPS Management", "Set up of sharding"); beside whole ones Slurm refuses them."""

_WHOLE_NODES = frozenset({"true", "exclusive", "allocation"})
"""Values of ``--exclusive`` by which a job has all generic resources of its nodes (sbatch(1); arg_set_exclusive in
src/common/slurm_opt.c of Slurm 26.11rc1), the first being no value at all; ``user``, ``mcs`` and ``topo`` share them."""


@dataclass(frozen=True, kw_only=True)
class Gres:
    """One generic resource that is asked for: its name, its type (empty: any), and how much of it."""

    name: str
    kind: str = ""
    count: int = 1

    @property
    def wanted(self) -> bool:
        """Whether any of it is asked for."""
        return self.count > 0

    @property
    def is_gpu(self) -> bool:
        """Whether this is a GPU, a part of one, or what a site calls so (``gpu_a100``, ``accel:gpu``)."""
        return self.name in _SHARES or "gpu" in f"{self.name}:{self.kind}".lower()


def in_gres(directives: Directives) -> tuple[Gres, ...]:
    """Return what ``gres`` asks for; what it asks for zero times is in it, since Slurm takes the option as given."""
    return tuple(_read(_given(directives).get("gres", "")))


def asks_for_gpus(directives: Directives) -> bool:
    """Tell whether a job's own options ask for GPUs; those that are asked for zero times are none."""
    given = _given(directives)
    # Of tasks for each GPU Slurm makes the number of GPUs, or it is given one in another option (sbatch(1)).
    return "ntasks-per-gpu" in given or any(one.is_gpu and one.wanted for one in _all(given))


def asks_twice(directives: Directives, option: str) -> bool:
    """Tell whether `option` asks for GPUs beside the key ``gpus``, as far as it is one that can ask for other things too."""
    given = _given(directives)
    if option not in ("gres", "tres-per-task"):
        return option in given
    found = _read(given.get("gres", "")) if option == "gres" else _of_tasks(given)
    return any(one.name == "gpu" or one.name in _SHARES for one in found)


def gpus_in_gres(directives: Directives) -> int:
    """Return how many whole GPUs ``gres`` asks for on each node, under whatever names the site gave them."""
    return sum(one.count for one in in_gres(directives) if one.is_gpu and one.name not in _SHARES)


def has_whole_nodes(directives: Directives) -> bool:
    """Tell whether a job has all that there is on its nodes, GPUs too, without asking for them."""
    return _given(directives).get("exclusive", "").lower() in _WHOLE_NODES


def _given(directives: Directives) -> dict[str, str]:
    return {option: str(value) for option, value in directives if value is not False}


def _all(given: dict[str, str]) -> Iterator[Gres]:
    yield from _read(given.get("gres", ""))
    yield from _of_tasks(given)
    for option in GPU_OPTIONS:
        yield from _read(",".join(f"gpu:{one}" for one in given.get(option, "").split(",") if one))


def _of_tasks(given: dict[str, str]) -> Iterator[Gres]:
    """Read ``tres-per-task``, whose list is of all kinds: ``cpu=8,gres/gpu:a100=2``."""
    found = given.get("tres-per-task", "").split(",")
    yield from _read(",".join(one for one in found if re.match("gres[/:]", one.strip())))


def _read(words: str) -> Iterator[Gres]:
    """Read a list of ``NAME[[:TYPE]:COUNT]``, as sbatch(1) calls it.

    The count stands after the last ``=`` or, without one, after the last ``:``, and is a whole number with a unit or none;
    if it is no number, it is a type. A count of zero asks for nothing (slurm_get_next_tres in
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
            # Nine digits are enough for any count, and int() refuses thousands of digits.
            yield Gres(name=name, kind=kind, count=int(count[1].lstrip("0")[:9] or 0) if count else 1)
