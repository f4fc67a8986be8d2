"""Choose the GPU vendor and Apptainer flag for a container; used both for cluster jobs and for this machine."""

from collections.abc import Container
from typing import Literal

from hpcdeploy.frozen import frozen

GpuVendor = Literal["nvidia", "amd"]
GpuVendorChoice = Literal["auto", "nvidia", "amd"]


@frozen
class Driver:
    """A vendor's driver: the ``device`` that it creates in ``/dev``, and its ``flag`` of ``apptainer exec``."""

    vendor: GpuVendor
    device: str
    flag: str


DRIVERS = (
    Driver(vendor="nvidia", device="nvidiactl", flag="--nv"),
    Driver(vendor="amd", device="kfd", flag="--rocm"),
)
"""The drivers, in the order of detection: a CPU with AMD graphics has ``/dev/kfd`` too, beside NVIDIA cards.

Sources: ``NV_CTRL_DEVICE_FILE_PATH`` in nvidia-modprobe-utils.h of NVIDIA/nvidia-modprobe; ``/dev/kfd``, the interface that
all AMD GPUs share, in ROCm's "Running ROCm Docker containers"
(https://rocm.docs.amd.com/projects/install-on-linux/en/latest/how-to/docker.html).
"""

FALLBACK = DRIVERS[0]
"""The driver to assume if GPUs are requested but no driver is found: Apptainer then prints a warning and continues."""

_BY_VENDOR = {driver.vendor: driver for driver in DRIVERS}


@frozen
class Handing:
    """How a job passes GPUs to its container.

    Attributes:
        flag: The flag to use if none of `drivers` is on the node; empty for no GPUs in that case.
        drivers: Drivers to look for on the node; the first one found decides the flag.
    """

    flag: str = ""
    drivers: tuple[Driver, ...] = ()


def handing(vendor: GpuVendorChoice, *, asked: bool, whole_nodes: bool = False) -> Handing | None:
    """Choose how a job passes GPUs to its container; None if the container gets none.

    Args:
        vendor: The vendor of the cluster's GPUs, or ``auto``.
        asked: The job requests GPUs.
        whole_nodes: The job has its nodes for itself, possibly with GPUs; the devices on the node decide.
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
    """Return the vendor whose driver created one of `devices` (names in ``/dev``); None if no known driver did."""
    return next((driver.vendor for driver in DRIVERS if driver.device in devices), None)
