"""What this machine has: engines and GPUs. Gathered once, judged by pure functions."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from hpcdeploy.engine.contract import APPTAINERS, SCHEME, Engine, EngineName, GpuName
from hpcdeploy.errors import ConfigError, MissingProgramError
from hpcdeploy.gpus import FALLBACK, vendor_of

AUTO = "auto"
_FOR_DOCKER_IMAGES: tuple[EngineName, ...] = (*APPTAINERS, "podman", "docker")
_CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
"""Where container engines look for CDI descriptions (Container Device Interface specification, SPEC.md)."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts: the paths of the programs that were found, the names in ``/dev``, and whether CDI devices are described."""

    programs: Mapping[str, str] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    cdi: bool = False


def look_around() -> Machine:
    """Gather the facts."""
    found = {name: shutil.which(name) for name in (*get_args(EngineName), "nvidia-smi")}
    return Machine(
        programs={name: path for name, path in found.items() if path},
        devices=frozenset(path.name for path in Path("/dev").iterdir()),
        cdi=any(Path(folder).is_dir() and any(Path(folder).iterdir()) for folder in _CDI_FOLDERS),
    )


def gpus_of(machine: Machine) -> GpuName:
    """Say whose GPUs there are: by the devices that decide it in jobs too (`vendor_of`), else by ``nvidia0`` and so on.

    A machine whose driver lies elsewhere (Windows' Linux has no such device) has ``nvidia-smi``.
    """
    if vendor := vendor_of(machine.devices):
        return vendor
    numbered = any(name.startswith("nvidia") and name[6:].isdigit() for name in machine.devices)
    return "nvidia" if numbered or "nvidia-smi" in machine.programs else ""


def choose_engine(asked: str, image: str, machine: Machine) -> Engine:
    """Choose what runs `image` (a path of a ``.sif``, or ``docker://...``): the engine that was `asked` for, or the best.

    Raises `MissingProgramError` where there is none, `ConfigError` where the one that was asked for cannot run it.
    """
    fitting = _FOR_DOCKER_IMAGES if image.startswith(SCHEME) else APPTAINERS
    if asked == AUTO:
        for name in fitting:
            if name in machine.programs:
                return Engine(name=name, program=machine.programs[name])
        others = [name for name in get_args(EngineName) if name in machine.programs]
        useless = f" ({' and '.join(others)} cannot run a .sif)" if others else ""
        raise MissingProgramError(
            f"{image} needs {' or '.join(fitting)}, and none is on this machine's PATH{useless}; install Apptainer, "
            "or run it on a cluster with 'hpcdeploy submit'"
        )
    for name in get_args(EngineName):
        if name != asked:
            continue
        if name not in fitting:
            raise ConfigError(
                f"{asked} cannot run {image}, which is Apptainer's own format; leave --engine out, or name a docker:// image"
            )
        if name not in machine.programs:
            raise MissingProgramError(f"{asked} is not on this machine's PATH; install it, or leave --engine out")
        return Engine(name=name, program=machine.programs[name])
    raise ConfigError(f"found --engine {asked!r}; expected {AUTO}, {', '.join(get_args(EngineName))}")


def choose_gpus(wanted: bool | None, engine: Engine, machine: Machine) -> GpuName:  # noqa: FBT001 - three values
    """Choose whose GPUs the container is given; `wanted` is True or False where that was said, else None.

    Raises `MissingProgramError` where podman has no description of them.
    """
    there = gpus_of(machine)
    gpu: GpuName = "" if wanted is False else there or (FALLBACK.vendor if wanted else "")
    if gpu == "nvidia" and engine.name == "podman" and not machine.cdi:
        raise MissingProgramError(
            f"podman gets GPUs from a CDI description, and there is none in {' or '.join(_CDI_FOLDERS)}; write one with "
            "'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml' (NVIDIA container toolkit), or use --no-gpu"
        )
    return gpu
