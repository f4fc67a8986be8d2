"""Which base image fits a Pixi environment: the table ``defs/pixi_bases.toml``, read, and asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.errors import DefinitionError, TemplateError
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

TABLE = "defs/pixi_bases.toml"


@dataclass(frozen=True, kw_only=True)
class Bases:
    """The table: ``cuda`` are tags by the CUDA version in them, ``glibc`` C library versions by a pattern of names."""

    repository: str
    plain: str
    cuda: tuple[tuple[str, str], ...] = ()
    glibc: tuple[tuple[str, str], ...] = ()


def load_bases(overrides: Path | None = None) -> Bases:
    """Read the table; `overrides` is the project's folder, whose own ``defs/pixi_bases.toml`` wins.

    Raises `TemplateError` where it is no such table.
    """
    text = templates.render(TABLE, {}, overrides=overrides)
    try:
        table = load_toml(text)
    except (TomlError, UnusableTomlError) as error:
        raise TemplateError(f"{TABLE} is not valid TOML: {error}; correct that line") from error
    words = {key: table.get(key) for key in ("repository", "plain")}
    for key, word in words.items():
        if not isinstance(word, str) or not word:
            raise TemplateError(f'{TABLE}: {key} is {word!r}, but a string was expected, such as {key} = "noble"')
    return Bases(
        repository=str(words["repository"]),
        plain=str(words["plain"]),
        cuda=tuple((_version(version, "cuda"), tag) for version, tag in _pairs(table, "cuda")),
        glibc=tuple((pattern, _version(version, "glibc")) for pattern, version in _pairs(table, "glibc")),
    )


def choose_base(bases: Bases, cuda: str) -> tuple[str, str]:
    """Return the base image for an environment that asks the driver for CUDA `cuda` (empty: none), and why.

    The newest tag of the same major version whose CUDA is no newer: an image of nvidia/cuda asks its machine for a driver
    of its own version (``NVIDIA_REQUIRE_CUDA``), and the environment promises no newer one. Without CUDA there is no reason.
    """
    plain = f"{bases.repository}:{bases.plain}"
    if not cuda:
        return plain, ""
    asked = _numbers(cuda)
    fitting = [
        (_numbers(version), tag)
        for version, tag in bases.cuda
        if _numbers(version)[0] == asked[0] and _numbers(version)[:2] <= asked[:2]
    ]
    if not fitting:
        return plain, (
            f"the base image is {plain}, without CUDA: none of {TABLE} holds a CUDA {asked[0]} that every driver with CUDA "
            f"{cuda} can run; the environment's own packages bring CUDA's libraries"
        )
    image = f"{bases.repository}:{max(fitting)[1]}"
    return image, (
        f"the base image is {image}, the newest of {TABLE} whose CUDA is no newer than the {cuda} that the environment "
        "asks of the driver"
    )


def known_glibc(bases: Bases, image: str) -> str:
    """Return the version of an image's C library as far as the table knows it, else nothing."""
    name = image.removeprefix("docker://").partition("@")[0]
    return next((version for pattern, version in bases.glibc if fnmatchcase(name, pattern)), "")


def check_glibc(bases: Bases, image: str, wanted: str, what: str) -> None:
    """Raise `DefinitionError` where `image` (named `what` in the settings) is known to have an older glibc than `wanted`."""
    known = known_glibc(bases, image)
    if known and wanted and _numbers(known) < _numbers(wanted):
        raise DefinitionError(
            f"{what} is {image}, whose C library is glibc {known}, but the environment's packages are locked for glibc "
            f"{wanted} or newer and would not start there; take a newer {what}, or lower 'glibc' of the workspace's "
            "platform, or 'libc' in its system requirements, and run 'pixi lock'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, at least major and minor: CUDA ``12`` is 12.0, the least that it promises."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    return (*numbers, *(0 for _ in range(2 - len(numbers))))


def _pairs(table: Mapping[str, object], key: str) -> tuple[tuple[str, str], ...]:
    found = table.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TemplateError(f"{TABLE}: {key} is {found!r}, but a table of texts was expected")
    return tuple(found.items())


def _version(text: str, key: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise TemplateError(f'{TABLE}: {key} holds {text!r}, but a version was expected, such as "12.9.1"')
    return text
