"""Parse the section ``container`` of a ``spack.yaml``, as Spack's ``containerize`` does.

Source: ``lib/spack/spack/schema/container.py`` and ``lib/spack/spack/container/images.json`` of Spack 0.20 to 1.0.
"""

from collections.abc import Mapping

from hpcdeploy.environments.spack_yaml import Table, table, text_of, texts, truth
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import nearest

KEYS = (
    *("format", "images", "strip", "os_packages", "labels", "template", "singularity", "docker", "depfile"),
    "extra_instructions",
)
MANAGERS = ("apt", "dnf", "dnf_epel", "yum", "yum_amazon", "zypper", "apk")


@frozen
class System:
    """An operating system of ``images: os``.

    Attributes:
        build: The system's image with Spack, without a tag.
        final: The system's plain image.
        manager: The system's package manager.
        name: The system's name in Spack's lock files (``platform_os``); empty if unknown.
    """

    build: str
    final: str
    manager: str
    name: str = ""


SYSTEMS: Mapping[str, System] = {
    "ubuntu:24.04": System(
        build="docker.io/spack/ubuntu-noble", final="docker.io/ubuntu:24.04", manager="apt", name="ubuntu24.04"
    ),
    "ubuntu:22.04": System(
        build="docker.io/spack/ubuntu-jammy", final="docker.io/ubuntu:22.04", manager="apt", name="ubuntu22.04"
    ),
    "ubuntu:20.04": System(
        build="docker.io/spack/ubuntu-focal", final="docker.io/ubuntu:20.04", manager="apt", name="ubuntu20.04"
    ),
    "almalinux:9": System(
        build="docker.io/spack/almalinux9", final="quay.io/almalinuxorg/almalinux:9", manager="dnf_epel", name="almalinux9"
    ),
    "almalinux:8": System(
        build="docker.io/spack/almalinux8", final="quay.io/almalinuxorg/almalinux:8", manager="dnf_epel", name="almalinux8"
    ),
    "rockylinux:9": System(
        build="docker.io/spack/rockylinux9", final="docker.io/rockylinux:9", manager="dnf_epel", name="rocky9"
    ),
    "rockylinux:8": System(
        build="docker.io/spack/rockylinux8", final="docker.io/rockylinux:8", manager="dnf_epel", name="rocky8"
    ),
    "centos:stream9": System(
        build="docker.io/spack/centos-stream9", final="quay.io/centos/centos:stream9", manager="dnf_epel"
    ),
    "centos:7": System(build="docker.io/spack/centos7", final="docker.io/centos:7", manager="yum", name="centos7"),
    "fedora:40": System(build="docker.io/spack/fedora40", final="docker.io/fedora:40", manager="dnf", name="fedora40"),
    "fedora:39": System(build="docker.io/spack/fedora39", final="docker.io/fedora:39", manager="dnf", name="fedora39"),
    "opensuse/leap:15": System(build="docker.io/spack/leap15", final="docker.io/opensuse/leap:latest", manager="zypper"),
}
"""The systems that have an image with Spack."""


@frozen
class Container:
    """The content of the section.

    Attributes:
        build: The build image; empty if not set.
        final: The final image; empty if not set.
        strip: Whether binaries are stripped.
        manager: The package manager; empty if not set.
        update: Whether the package manager's lists are updated first.
        build_packages: System packages for the build.
        final_packages: System packages for the final image.
        labels: The labels.
        test: Shell lines of the test.
        unused: Keys of the section that have no effect on hpcdeploy's images.
    """

    build: str = ""
    final: str = ""
    strip: bool = True
    manager: str = ""
    update: bool = True
    build_packages: tuple[str, ...] = ()
    final_packages: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    test: str = ""
    unused: tuple[str, ...] = ()


def read_container(value: object, file: str) -> Container:
    """Parse the section.

    Raises:
        EnvironmentFileError: The section is malformed or not supported; the message has an alternative.
    """
    where = f"{file}: spack.container"
    given = table(value, where)
    _known(given, KEYS, where)
    if given.get("extra_instructions"):
        raise EnvironmentFileError(
            f"{where}.extra_instructions are lines for one recipe format and cannot be translated; write them as shell "
            "lines in the image's 'setup', and remove this key"
        )
    build, final, manager = _images(given.get("images"), f"{where}.images")
    packages = table(given.get("os_packages"), f"{where}.os_packages")
    _known(packages, ("command", "update", "build", "final"), f"{where}.os_packages")
    command = text_of(packages.get("command"), f"{where}.os_packages.command")
    if command and command not in MANAGERS:
        raise EnvironmentFileError(f"{where}.os_packages.command is {command!r}; {nearest(command, MANAGERS)}")
    native = table(given.get("singularity"), f"{where}.singularity")
    _known(native, ("runscript", "startscript", "test", "help"), f"{where}.singularity")
    labels = table(given.get("labels"), f"{where}.labels")
    return Container(
        build=build,
        final=final,
        strip=truth(given.get("strip"), f"{where}.strip", default=True),
        manager=command or manager,
        update=truth(packages.get("update"), f"{where}.os_packages.update", default=True),
        build_packages=texts(packages.get("build"), f"{where}.os_packages.build"),
        final_packages=texts(packages.get("final"), f"{where}.os_packages.final"),
        labels=tuple((name, text_of(label, f"{where}.labels.{name}")) for name, label in labels.items()),
        test=text_of(native.get("test"), f"{where}.singularity.test"),
        unused=(
            *(key for key in ("template",) if given.get(key)),
            *(f"singularity.{key}" for key in ("runscript", "startscript", "help") if native.get(key)),
        ),
    )


def _images(value: object, where: str) -> tuple[str, str, str]:
    """Return build image, final image and package manager; each is empty if it is not set."""
    if value is None or value == "":
        return "", "", ""
    given = table(value, where)
    _known(given, ("build", "final", "os", "spack"), where)
    if "build" in given or "final" in given:
        pair = [text_of(given.get(key), f"{where}.{key}") for key in ("build", "final")]
        if not all(pair):
            raise EnvironmentFileError(f"{where} has only one of build and final; set both, as Spack requires")
        return pair[0], pair[1], ""
    system = text_of(given.get("os"), f"{where}.os")
    if system not in SYSTEMS:
        raise EnvironmentFileError(
            f"{where}.os is {system!r}, but no image with Spack exists for it; {nearest(system, tuple(SYSTEMS))} "
            "Or set the images directly: build and final"
        )
    spack = given.get("spack")
    if not isinstance(spack, str) or not spack:
        raise EnvironmentFileError(
            f"{where}.spack is {spack!r}; expected a release such as '1.1.0'. hpcdeploy does not download Spack from git "
            "during a build; set 'build' to an image with this Spack, and 'final' to an image without Spack"
        )
    return f"{SYSTEMS[system].build}:{spack}", SYSTEMS[system].final, SYSTEMS[system].manager


def _known(given: Table, keys: tuple[str, ...], where: str) -> None:
    odd = next((key for key in given if key not in keys), None)
    if odd is not None:
        raise EnvironmentFileError(f"{where} has the key {odd!r}, which is unknown; {nearest(odd, keys)}")
