"""Detect the engines and GPUs of this machine, and choose among them with pure functions."""

import shutil
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import get_args

from hpcdeploy.engine.contract import APPTAINERS, SCHEME, Engine, EngineName, GpuName
from hpcdeploy.errors import ConfigError, MissingProgramError
from hpcdeploy.frozen import frozen
from hpcdeploy.gpus import FALLBACK, vendor_of

AUTO = "auto"
_FOR_DOCKER_IMAGES: tuple[EngineName, ...] = (*APPTAINERS, "podman", "docker")
_CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
"""Folders in which engines look for CDI descriptions (Container Device Interface specification, SPEC.md)."""


@frozen
class Machine:
    """Facts about this machine: paths of installed programs, names in ``/dev``, and whether CDI descriptions exist."""

    programs: Mapping[str, str] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    cdi: bool = False


def look_around() -> Machine:
    """Return the facts about this machine."""
    found = {name: shutil.which(name) for name in (*get_args(EngineName), "nvidia-smi")}
    return Machine(
        programs={name: path for name, path in found.items() if path},
        devices=frozenset(path.name for path in Path("/dev").iterdir()),
        cdi=any(Path(folder).is_dir() and any(Path(folder).iterdir()) for folder in _CDI_FOLDERS),
    )


def gpus_of(machine: Machine) -> GpuName:
    """Return the vendor of this machine's GPUs; empty if none is detected.

    The same devices decide it as in jobs (`vendor_of`), then ``nvidia0`` and so on. A machine whose driver is elsewhere
    (Linux in Windows has no such device) has ``nvidia-smi``.
    """
    if vendor := vendor_of(machine.devices):
        return vendor
    numbered = any(name.startswith("nvidia") and name[6:].isdigit() for name in machine.devices)
    return "nvidia" if numbered or "nvidia-smi" in machine.programs else ""


def choose_engine(asked: str, image: str, machine: Machine) -> Engine:
    """Choose the engine that runs an image.

    Args:
        asked: The name of the requested engine, or ``auto`` for the best available one.
        image: The path of a ``.sif``, or ``docker://...``.
        machine: The facts about this machine.

    Raises:
        MissingProgramError: No suitable engine is installed.
        ConfigError: The requested engine is unknown, or cannot run the image.
    """
    fitting = _FOR_DOCKER_IMAGES if image.startswith(SCHEME) else APPTAINERS
    if asked == AUTO:
        for name in fitting:
            if name in machine.programs:
                return Engine(name=name, program=machine.programs[name])
        others = [name for name in get_args(EngineName) if name in machine.programs]
        useless = f" ({' and '.join(others)} cannot run a .sif)" if others else ""
        raise MissingProgramError(
            f"{image} needs {' or '.join(fitting)}, but none is on this machine's PATH{useless}; install Apptainer, "
            "or run it on a cluster with 'hpcdeploy submit'"
        )
    for name in get_args(EngineName):
        if name != asked:
            continue
        if name not in fitting:
            raise ConfigError(
                f"{asked} cannot run {image}, which is in Apptainer's own format; omit --engine, or use a docker:// image"
            )
        if name not in machine.programs:
            raise MissingProgramError(f"{asked} is not on this machine's PATH; install it, or omit --engine")
        return Engine(name=name, program=machine.programs[name])
    raise ConfigError(f"found --engine {asked!r}; expected {AUTO}, {', '.join(get_args(EngineName))}")


def choose_gpus(wanted: bool | None, engine: Engine, machine: Machine) -> GpuName:  # noqa: FBT001 - three values
    """Choose the vendor of the GPUs that the container gets; empty for no GPUs.

    Args:
        wanted: True or False if the user chose; None to use GPUs if any are detected.
        engine: The engine.
        machine: The facts about this machine.

    Raises:
        MissingProgramError: podman has no CDI description of the GPUs.
    """
    detected = gpus_of(machine)
    gpu: GpuName = "" if wanted is False else detected or (FALLBACK.vendor if wanted else "")
    if gpu == "nvidia" and engine.name == "podman" and not machine.cdi:
        raise MissingProgramError(
            f"podman gets GPUs from a CDI description, but there is none in {' or '.join(_CDI_FOLDERS)}; create one with "
            "'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml' (NVIDIA container toolkit), or use --no-gpu"
        )
    return gpu
