"""Choose Apptainer's flag for the GPUs of a container, for jobs on a cluster and for containers on this machine."""

from collections.abc import Container
from typing import Literal

from hpcdeploy.frozen import frozen

GpuVendor = Literal["nvidia", "amd"]
GpuVendorChoice = Literal["auto", "nvidia", "amd"]


@frozen
class Driver:
    """The GPU driver of one vendor.

    Attributes:
        vendor: The vendor.
        device: The name of the file that the driver creates in ``/dev``.
        flag: The flag of ``apptainer exec`` that makes the GPUs available in the container.
    """

    vendor: GpuVendor
    device: str
    flag: str


DRIVERS = (
    Driver(vendor="nvidia", device="nvidiactl", flag="--nv"),
    Driver(vendor="amd", device="kfd", flag="--rocm"),
)
"""The drivers, in the order of detection.

NVIDIA is first, because a machine with NVIDIA cards also has ``/dev/kfd`` if its CPU contains AMD graphics.

Sources: ``NV_CTRL_DEVICE_FILE_PATH`` in nvidia-modprobe-utils.h of NVIDIA/nvidia-modprobe; ``/dev/kfd``, the interface that
all AMD GPUs share, in ROCm's "Running ROCm Docker containers"
(https://rocm.docs.amd.com/projects/install-on-linux/en/latest/how-to/docker.html).
"""

FALLBACK = DRIVERS[0]
"""The driver whose flag is used if GPUs are requested but no driver is found. Apptainer prints a warning and continues."""

_BY_VENDOR = {driver.vendor: driver for driver in DRIVERS}


@frozen
class Handing:
    """How a job passes GPUs to its container.

    Attributes:
        flag: The flag to use if none of `drivers` is found on the node; empty if the container then gets no GPUs.
        drivers: The drivers to look for on the node. The flag of the first one found is used.
    """

    flag: str = ""
    drivers: tuple[Driver, ...] = ()


def handing(vendor: GpuVendorChoice, *, asked: bool, whole_nodes: bool = False) -> Handing | None:
    """Choose how a job passes GPUs to its container; None if the container gets none.

    Args:
        vendor: The vendor of the cluster's GPUs, or ``auto``.
        asked: Whether the job requests GPUs.
        whole_nodes: Whether the job has its nodes exclusively. The nodes may have GPUs that the job does not request, so the
            job looks for drivers on the node.
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
