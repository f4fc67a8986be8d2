import pytest

from hpcdeploy.gpus import DRIVERS, GpuVendorChoice, Handing, handing, vendor_of

NVIDIA, AMD = DRIVERS


@pytest.mark.parametrize(
    ("devices", "vendor"),
    [
        ({"nvidiactl", "nvidia0"}, "nvidia"),
        ({"kfd", "dri"}, "amd"),
        ({"kfd", "dri", "nvidiactl", "nvidia0"}, "nvidia"),
        ({"dri", "nvram"}, None),
    ],
)
def test_a_driver_is_known_by_its_device_and_a_card_counts_more_than_graphics(devices: set[str], vendor: str | None) -> None:
    assert vendor_of(devices) == vendor


@pytest.mark.parametrize(
    ("vendor", "asked", "whole_nodes", "given"),
    [
        ("auto", True, False, Handing(flag="--nv", drivers=DRIVERS)),
        ("auto", True, True, Handing(flag="--nv", drivers=DRIVERS)),
        ("auto", False, True, Handing(drivers=DRIVERS)),
        ("auto", False, False, None),
        ("nvidia", True, False, Handing(flag="--nv")),
        ("amd", True, False, Handing(flag="--rocm")),
        ("amd", True, True, Handing(flag="--rocm")),
        ("amd", False, True, Handing(drivers=(AMD,))),
        ("nvidia", False, True, Handing(drivers=(NVIDIA,))),
        ("amd", False, False, None),
    ],
)
def test_gpus_are_handed_in_where_they_are_asked_for_or_come_with_the_node(
    vendor: GpuVendorChoice, asked: bool, whole_nodes: bool, given: Handing | None
) -> None:
    assert handing(vendor, asked=asked, whole_nodes=whole_nodes) == given
