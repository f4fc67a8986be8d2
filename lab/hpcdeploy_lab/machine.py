"""What the kernel of this machine must allow: Apptainer runs as an ordinary user, in user namespaces."""

from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.errors import LabError

_SYSCTLS = Path("/proc/sys")

REFUSALS = (
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)
"""Setting, the value that forbids user namespaces, and what lifts it (user_namespaces(7), and Debian's and Ubuntu's own)."""


def read_limits() -> dict[str, str]:
    """Read those of the settings that this kernel has."""
    paths = {name: _SYSCTLS / name for name, _, _ in REFUSALS}
    return {name: path.read_text().strip() for name, path in paths.items() if path.exists()}


def check_user_namespaces(limits: Mapping[str, str]) -> None:
    """Raise `LabError` where the kernel's settings keep ordinary users from making user namespaces."""
    for name, forbidding, remedy in REFUSALS:
        if limits.get(name) == forbidding:
            raise LabError(
                "Apptainer runs as an ordinary user in the lab and needs user namespaces, which this machine forbids "
                f"({name.replace('/', '.')} is {forbidding}); allow them with: sysctl -w {remedy}"
            )
