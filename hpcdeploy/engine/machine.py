"""Detect the engines and GPUs of this machine, and choose the ones to use.

Only `look_around` examines the machine; the other functions choose by the facts that it returned.
"""

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
"""Folders in which engines look for descriptions of devices (Container Device Interface specification, SPEC.md)."""


@frozen
class Machine:
    """Facts about this machine.

    Attributes:
        programs: Paths of the installed engines and of ``nvidia-smi``, by name.
        devices: Names of the files in ``/dev``.
        cdi: Whether a folder for CDI descriptions contains a file.
    """

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

    The devices that decide it in jobs are checked first (`vendor_of`). Then a device such as ``nvidia0`` or the program
    ``nvidia-smi`` means NVIDIA. The program is checked because Linux in Windows (WSL) has it, but no such device.
    """
    if vendor := vendor_of(machine.devices):
        return vendor
    numbered = any(name.startswith("nvidia") and name[6:].isdigit() for name in machine.devices)
    return "nvidia" if numbered or "nvidia-smi" in machine.programs else ""


def choose_engine(asked: str, image: str, machine: Machine) -> Engine:
    """Choose the engine that runs an image.

    Args:
        asked: The name of an engine, or ``auto`` for the first installed engine that can run the image.
        image: The path of a ``.sif``, or ``docker://`` and a full reference.
        machine: The facts about this machine.

    Raises:
        MissingProgramError: The engine `asked`, or for ``auto`` every engine that can run the image, is not installed.
        ConfigError: `asked` is not the name of an engine, or the engine cannot run the image.
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
            "or run the image on a cluster with 'hpcdeploy submit'"
        )
    for name in get_args(EngineName):
        if name != asked:
            continue
        if name not in fitting:
            raise ConfigError(
                f"{asked} cannot run {image}, which has Apptainer's image format; omit --engine, or use a docker:// image"
            )
        if name not in machine.programs:
            raise MissingProgramError(f"{asked} is not on this machine's PATH; install {asked}, or omit --engine")
        return Engine(name=name, program=machine.programs[name])
    raise ConfigError(f"found --engine {asked!r}; expected {AUTO}, {', '.join(get_args(EngineName))}")


def choose_gpus(wanted: bool | None, engine: Engine, machine: Machine) -> GpuName:  # noqa: FBT001 - three values
    """Choose the vendor of the GPUs that the container gets; empty for no GPUs.

    Args:
        wanted: True to use GPUs even if none is detected, False for no GPUs, None to use GPUs if any are detected.
        engine: The engine that runs the container.
        machine: The facts about this machine.

    Raises:
        MissingProgramError: podman would need a CDI description of the NVIDIA GPUs, but this machine has none.
    """
    detected = gpus_of(machine)
    gpu: GpuName = "" if wanted is False else detected or (FALLBACK.vendor if wanted else "")
    if gpu == "nvidia" and engine.name == "podman" and not machine.cdi:
        raise MissingProgramError(
            f"podman needs a CDI description for GPUs, but {' and '.join(_CDI_FOLDERS)} contain none; create one with "
            "'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml' (NVIDIA container toolkit), or use --no-gpu"
        )
    return gpu
