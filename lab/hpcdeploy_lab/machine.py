"""Check that this machine's kernel lets ordinary users create user namespaces, which Apptainer needs."""

from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.errors import LabError

_SYSCTLS = Path("/proc/sys")

REFUSALS = (
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)
"""Per row: a kernel setting, its value that forbids user namespaces, and the setting that allows them.

The first row is a setting of every Linux kernel (user_namespaces(7)), the second of Debian's, the third of Ubuntu's.
"""


def read_limits() -> dict[str, str]:
    """Return the values of the settings in `REFUSALS`, without settings that this kernel lacks."""
    paths = {name: _SYSCTLS / name for name, _, _ in REFUSALS}
    return {name: path.read_text().strip() for name, path in paths.items() if path.exists()}


def check_user_namespaces(limits: Mapping[str, str]) -> None:
    """Check that ordinary users can create user namespaces.

    Raises:
        LabError: A kernel setting forbids user namespaces.
    """
    for name, forbidding, remedy in REFUSALS:
        if limits.get(name) == forbidding:
            raise LabError(
                "Apptainer runs as an ordinary user in the lab and needs user namespaces, which this machine forbids "
                f"({name.replace('/', '.')} is {forbidding}); allow them with: sysctl -w {remedy}"
            )
