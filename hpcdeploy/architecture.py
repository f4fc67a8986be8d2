"""Define the processor architectures of images and clusters, and the names that other programs use for them."""

from collections.abc import Mapping

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen


@frozen
class Architecture:
    """A processor architecture.

    Attributes:
        name: Go's name, which OCI images and SIF headers use, such as ``amd64`` (``go tool dist list``).
        machine: The kernel's name (``uname -m``), such as ``x86_64``. It is also the family's name in archspec, and Slurm's
            ``Arch`` of a node.
        subdir: The conda subfolder, such as ``linux-64``.
        condor: The value of a slot's attribute ``Arch`` in HTCondor (its manual, "Machine ClassAd Attributes").
        variants: The variants of OCI images that every such processor can run; an empty text is an image without a variant.
        runners: The label of GitHub's machines with this architecture (docs.github.com, "GitHub-hosted runners reference").
    """

    name: str
    machine: str
    subdir: str
    condor: str
    variants: tuple[str, ...]
    runners: str

    @property
    def platform(self) -> str:
        """The platform of an OCI image, such as ``linux/amd64``."""
        return f"linux/{self.name}"


AMD64 = Architecture(
    name="amd64", machine="x86_64", subdir="linux-64", condor="X86_64", variants=("", "v1"), runners="ubuntu-latest"
)
ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    subdir="linux-aarch64",
    condor="aarch64",
    variants=("", "v8"),
    runners="ubuntu-24.04-arm",
)
ARCHITECTURES = (AMD64, ARM64)
"""All architectures for which images can be built. The first one is that of images without the setting ``platform``."""

NAMES: Mapping[str, Architecture] = {
    name: one
    for one in ARCHITECTURES
    for name in (
        one.name,
        one.machine,
        one.subdir,
        *(f"linux{sign}{word}" for sign in "-/" for word in (one.name, one.machine)),
        *(f"{one.platform}/{variant}" for variant in one.variants if variant),
    )
}
"""The architecture by each name that conda, Docker, Go and the kernel have for it."""

_OF_NODES: Mapping[str, Architecture] = {**{one.condor.lower(): one for one in ARCHITECTURES}, **NAMES}


def read_platform_setting(value: str, shown: str) -> Architecture:
    """Return the architecture that a setting ``platform`` names; `shown` is the value for the message.

    Raises:
        ConfigError: The value names none of `ARCHITECTURES`.
    """
    if value in NAMES:
        return NAMES[value]
    raise ConfigError(
        f"found {shown}; expected the platform of an image: "
        + " or ".join(f'"{one.subdir}" ("{one.platform}")' for one in ARCHITECTURES)
    )


def of_machine(name: str) -> Architecture | None:
    """Return the architecture by any program's name for it (``x86_64``, ``arm64``, ``X86_64``); None for another one."""
    return _OF_NODES.get(name) or _OF_NODES.get(name.lower())
