"""Find out whether a machine can build an image for another processor: the kernel must start its programs in an emulator."""

from pathlib import Path

from hpcdeploy.architecture import Architecture, of_machine
from hpcdeploy.errors import BuildError

HANDLERS = Path("/proc/sys/fs/binfmt_misc")
"""The folder of binfmt_misc, in which each handler is a file (Linux, ``Documentation/admin-guide/binfmt-misc.rst``)."""


def needs_emulator(wanted: Architecture | None, machine: str, handlers: Path) -> bool:
    """Tell whether a build for `wanted` on a machine needs an emulator; False if the processor fits.

    An emulator must be registered under the name ``qemu-MACHINE``, as the packages of Debian and Fedora and the action
    docker/setup-qemu-action do. ``login/build.sh`` does the same on a login node.

    Args:
        wanted: The architecture of the image; None for that of the machine.
        machine: The machine's processor (``uname -m``).
        handlers: The folder of binfmt_misc.

    Raises:
        BuildError: The processor is another one, and there is no emulator.
    """
    if wanted is None or of_machine(machine) == wanted:
        return False
    try:
        enabled = (handlers / f"qemu-{wanted.machine}").read_text().startswith("enabled")
    except OSError:
        enabled = False
    if not enabled:
        own = of_machine(machine)
        advice = f'; for an image for this machine, set platform = "{own.subdir}" in the image\'s settings' if own else ""
        raise BuildError(
            f"the image is for {wanted.platform} ({wanted.machine}), but this machine is {machine}; build it on a cluster "
            f"whose login node is {wanted.machine} (hpcdeploy build --on CLUSTER) or on another such machine, or register "
            f"an emulator (qemu-user-binfmt, as qemu-{wanted.machine}) and use Apptainer 1.4 or later{advice}"
        )
    return True
