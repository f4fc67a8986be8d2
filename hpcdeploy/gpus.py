"""Whose GPUs a container is given: the one place that decides it, for jobs and for this machine alike."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

GpuVendor = Literal["nvidia", "amd"]
GpuVendorChoice = Literal["auto", "nvidia", "amd"]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A vendor's driver: the ``device`` that it makes in ``/dev``, and the ``flag`` of ``apptainer exec`` for it."""

    vendor: GpuVendor
    device: str
    flag: str


DRIVERS = (
    Driver(vendor="nvidia", device="nvidiactl", flag="--nv"),
    Driver(vendor="amd", device="kfd", flag="--rocm"),
)
"""In the order in which they are looked for: a processor with graphics of AMD's own has ``/dev/kfd`` too, beside the cards
of NVIDIA. Sources: ``NV_CTRL_DEVICE_FILE_PATH`` in nvidia-modprobe-utils.h of NVIDIA/nvidia-modprobe; ``/dev/kfd``, the
interface that all AMD GPUs share, in ROCm's "Running ROCm Docker containers"
(https://rocm.docs.amd.com/projects/install-on-linux/en/latest/how-to/docker.html)."""

FALLBACK = DRIVERS[0]
"""For who wants GPUs where no driver shows itself: Apptainer warns that it found none, and goes on."""

_BY_VENDOR = {driver.vendor: driver for driver in DRIVERS}


@dataclass(frozen=True, kw_only=True)
class Handing:
    """How a job hands GPUs to its container: by the flag of the first of ``drivers`` that is on the node, else by ``flag``.

    An empty ``flag``: without a driver there is nothing to hand in.
    """

    flag: str = ""
    drivers: tuple[Driver, ...] = ()


def handing(vendor: GpuVendorChoice, *, asked: bool, whole_nodes: bool = False) -> Handing | None:
    """Decide how a job hands GPUs to its container on a cluster whose GPUs are of `vendor`, or any (``auto``).

    `asked`: the job asks for GPUs. `whole_nodes`: it has whatever there is on its nodes, maybe GPUs; so the device decides.
    None: neither, and the container gets none.
    """
    if not (asked or whole_nodes):
        return None
    if vendor == "auto":
        return Handing(flag=FALLBACK.flag if asked else "", drivers=DRIVERS)
    driver = _BY_VENDOR[vendor]
    return Handing(flag=driver.flag) if asked else Handing(drivers=(driver,))


def flag_of(vendor: GpuVendor) -> str:
    """Return Apptainer's flag for the GPUs of `vendor`."""
    return _BY_VENDOR[vendor].flag


def vendor_of(devices: Container[str]) -> GpuVendor | None:
    """Tell whose driver made the `devices`, which are names in ``/dev``; None: nobody's that is known."""
    return next((driver.vendor for driver in DRIVERS if driver.device in devices), None)
