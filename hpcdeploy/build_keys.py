"""Compute the keys that name the content of a build: the key of the environment, and the key of the whole image.

A key is a sha256 (64 hex digits) of values. Equal keys mean equal content. Equal bytes are only promised for equal keys and
equal tools, so the tools are recorded beside the key (`hpcdeploy.image.BuiltImage`).

These values are in no key: the release of hpcdeploy, the builder and the versions of its programs, and the host name of a
mirror. So the text of a definition must be the text before base images were replaced by their mirrors
(`hpcdeploy.definition.base_images.redirect`).
"""

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping

from hpcdeploy.architecture import of_machine
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import EPOCH, ZSTD, Compression, ContextFile

_ENVIRONMENT = "hpcdeploy environment 1"
_IMAGE = "hpcdeploy image 1"
"""The kind of a key and the version of its computation. Other kinds or versions with the same values have other keys."""

_MADE_BY = re.compile(r"\A(?P<before># .*(?:made|translated) by hpcdeploy )[0-9]\S*$", re.MULTILINE)
"""The comment at the top of a definition, with the release of hpcdeploy (``defs/*.def``)."""

_VERSION_LABEL = re.compile(r"^(?P<before>[ \t]*io\.github\.hpcdeploy\.version )[0-9]\S*$")
"""The label with the release of hpcdeploy (``defs/*.def``), a line of ``%labels``."""

_LATEST = (1 << 32) - 1
"""The latest time in squashfs, and in a compiled Python file."""


@frozen
class CodeEntry:
    """A file, link or folder of the code.

    Attributes:
        path: The path in the image.
        mode: The permissions, such as ``0o755``.
        sha256: The checksum of the content (64 hex digits); empty for a link or a folder.
        link: The target of a symbolic link; empty for a file or a folder.
    """

    path: str
    mode: int
    sha256: str = ""
    link: str = ""


@frozen
class EnvironmentInputs:
    """All values that determine the content of an environment.

    Attributes:
        text: The rendered stages of the definition, without the code.
        files: The files that ``%files`` and the stages read, without the code.
        build_args: Names and values of the build arguments; their order has no meaning.
        bases: The references of base images, each with the digest of the image (``sha256:...``). For a base that is a file,
            the digest is that of the file. A base whose digest is unknown is missing.
        architecture: The architecture of the image (`architecture_of`).
        compression: The compression of the file system.
        epoch: The time of all files, in seconds since 1970.
    """

    text: str
    files: tuple[ContextFile, ...] = ()
    build_args: tuple[tuple[str, str], ...] = ()
    bases: tuple[tuple[str, str], ...] = ()
    architecture: str = "amd64"
    compression: Compression = ZSTD
    epoch: int = EPOCH


def environment_key(inputs: EnvironmentInputs) -> str:
    """Return the key of an environment."""
    compression = inputs.compression
    return _key(
        _ENVIRONMENT,
        {
            "text": without_release(inputs.text),
            "files": sorted((file.staged, file.mode, file.sha256) for file in inputs.files),
            "build_args": dict(inputs.build_args),
            "bases": dict(inputs.bases),
            "architecture": inputs.architecture,
            "compression": [compression.name, compression.level, compression.block],
            "epoch": inputs.epoch,
        },
    )


def image_key(environment: str, code: Iterable[CodeEntry] = ()) -> str:
    """Return the key of an image: of its environment (`environment_key`) and of the manifest of its code.

    Args:
        environment: The key of the environment.
        code: The entries of the code, in any order; none if the image contains no code of its own.
    """
    return _key(
        _IMAGE,
        {"environment": environment, "code": sorted((one.path, one.mode, one.sha256, one.link) for one in code)},
    )


def code_entries(files: Iterable[ContextFile]) -> tuple[CodeEntry, ...]:
    """Return the entries of staged `files`. A staged file has no links: they were followed when the file was found."""
    return tuple(CodeEntry(path=file.staged, mode=file.mode, sha256=file.sha256) for file in files)


def epoch_of(environment: Mapping[str, str]) -> int:
    """Return the time to write into images, in seconds since 1970: SOURCE_DATE_EPOCH, or `EPOCH` if it is not set.

    Source: https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        ConfigError: SOURCE_DATE_EPOCH is no whole number of seconds, or later than the year 2106.
    """
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return EPOCH
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _LATEST:
        raise ConfigError(
            f"SOURCE_DATE_EPOCH is {text!r}; expected whole seconds since 1970, at most {_LATEST}, such as the output of "
            "'git log -1 --format=%ct'"
        )
    return int(text)


def without_release(text: str) -> str:
    """Return the text of a definition without the release of hpcdeploy that made the definition."""
    section, lines = "", []
    for line in _MADE_BY.sub(lambda match: match["before"], text).split("\n"):
        if line.lstrip().startswith("%"):
            section = line.split()[0]
        match = _VERSION_LABEL.match(line) if section == "%labels" else None
        lines.append(match["before"] if match else line)
    return "\n".join(lines)


def architecture_of(machine: str = "") -> str:
    """Return the name that images use for the architecture `machine`, a word of uname(1); empty for this machine."""
    word = machine or platform.machine()
    known = of_machine(word)
    return known.name if known else word.lower()


def _key(kind: str, values: object) -> str:
    text = json.dumps([kind, values], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
