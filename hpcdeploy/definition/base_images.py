"""Choose base images, and find the registries and mirrors from which they are pulled."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.definition.grammar import read_definition, split_stages
from hpcdeploy.errors import DefinitionError, TemplateError
from hpcdeploy.frozen import frozen
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml


def registry_of(source: str) -> str:
    """Return the registry of an image address.

    The registry is ``docker.io`` unless the first component looks like a host (has a dot or a colon, or is ``localhost``).
    """
    first, slash, _ = source.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


_FROM = re.compile(r"^(?P<key>From:\s*)(?P<source>\S+)", re.IGNORECASE | re.MULTILINE)
_SECTION = re.compile(r"^[^\S\n]*%", re.MULTILINE)


def redirect(text: str, mirrors: Sequence[tuple[str, str]]) -> str:
    """Replace each base image in ``From`` by its mirror.

    Args:
        text: The definition.
        mirrors: Pairs of a registry or repository prefix and its replacement. A prefix matches complete components of
            an address, and the longest matching prefix is used. A name without a registry belongs to Docker Hub.
    """

    return _with_sources(text, lambda source: mirrored(source, mirrors))


def pinned(text: str, digests: Mapping[str, str]) -> str:
    """Return a definition whose base images in ``From`` cannot change.

    Args:
        text: The definition.
        digests: The digest of each base image, by its address in ``From``. A base image without a digest is not changed.
    """
    return _with_sources(text, lambda source: with_digest(source, digests[source]) if source in digests else source)


def with_digest(source: str, digest: str) -> str:
    """Return the address of the image `source` with its `digest` instead of its tag.

    The tag is removed because Apptainer before 1.4 refuses a reference with both (containers/image,
    docker/docker_transport.go: "Docker references with both a tag and digest are currently not supported").
    """
    name, at, _ = source.partition("@")
    if at:
        return source
    last = name.rfind("/") + 1
    return f"{name[:last]}{name[last:].partition(':')[0]}@{digest}"


def _with_sources(text: str, change: Callable[[str], str]) -> str:
    """Return a definition in which each value of ``From`` in a header is replaced by the result of `change`."""

    def stage(part: str) -> str:
        section = _SECTION.search(part)
        end = section.start() if section else len(part)
        return _FROM.sub(lambda match: match["key"] + change(match["source"]), part[:end]) + part[end:]

    return "".join(map(stage, split_stages(text)))


def mirror_addresses(text: str, redirected: str) -> dict[str, str]:
    """Return the address of each base image of `text`, by the address of its mirror in the `redirected` text.

    Raises:
        DefinitionError: A text is malformed.
    """
    both = zip(read_definition(redirected), read_definition(text), strict=True)
    pairs = ((mirror.header.get("from", ""), original.header.get("from", "")) for mirror, original in both)
    return {mirror: original for mirror, original in pairs if mirror != original}


def needs_plain_http(text: str) -> bool:
    """Tell whether base images come from a registry on loopback, which is accessed without TLS.

    Raises:
        DefinitionError: The definition is malformed, or only some of its base images come from a registry on loopback.
            Apptainer's switch (``APPTAINER_NOHTTPS``) applies to a whole build, so it would disable TLS for all registries.
    """
    registries = {
        registry_of(stage.header.get("from", ""))
        for stage in read_definition(text)
        if stage.header.get("bootstrap", "").lower() in ("docker", "oras")
    }
    loopback = {registry for registry in registries if _is_loopback(registry)}
    if loopback and registries - loopback:
        raise DefinitionError(
            f"the base images come from {', '.join(sorted(registries))}: one registry is on loopback and needs plain "
            "HTTP, which Apptainer can only enable for all registries. Use one registry, or set a mirror for the others"
        )
    return bool(loopback)


def mirrored(source: str, mirrors: Sequence[tuple[str, str]]) -> str:
    """Return the address from which `source` is fetched: its mirror, or `source` itself if no mirror matches."""
    full = source
    if registry_of(source) == "docker.io" and not source.startswith("docker.io/"):
        full = f"docker.io/{source if '/' in source else f'library/{source}'}"
    fitting = [pair for pair in mirrors if full.startswith(pair[0].rstrip("/") + "/")]
    if not fitting:
        return source
    prefix, replacement = max(fitting, key=lambda pair: len(pair[0]))
    return replacement.rstrip("/") + full.removeprefix(prefix.rstrip("/"))


def _is_loopback(registry: str) -> bool:
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


TABLE = "defs/pixi_bases.toml"


@frozen
class Bases:
    """The table of base images.

    Attributes:
        repository: The repository of all tags, such as ``ghcr.io/prefix-dev/pixi``.
        plain: The tag of the image without CUDA.
        cuda: Pairs of a CUDA version and the tag of the image with this version.
        glibc: Pairs of a pattern of image names and the glibc version of the images that match it.
    """

    repository: str
    plain: str
    cuda: tuple[tuple[str, str], ...] = ()
    glibc: tuple[tuple[str, str], ...] = ()


def load_bases(overrides: Path | None = None) -> Bases:
    """Read the table of base images.

    Args:
        overrides: The project's folder. Its ``defs/pixi_bases.toml``, if present, replaces the built-in table.

    Raises:
        TemplateError: The table is not valid TOML, or a value has the wrong type.
    """
    text = templates.render(TABLE, {}, overrides=overrides)
    try:
        table = load_toml(text)
    except (TomlError, UnusableTomlError) as error:
        raise TemplateError(f"{TABLE} is not valid TOML: {error}; correct that line") from error
    required = {key: table.get(key) for key in ("repository", "plain")}
    for key, value in required.items():
        if not isinstance(value, str) or not value:
            raise TemplateError(f'{TABLE}: {key} is {value!r}; expected a string such as {key} = "noble"')
    return Bases(
        repository=str(required["repository"]),
        plain=str(required["plain"]),
        cuda=tuple((_version(version, "cuda"), tag) for version, tag in _pairs(table, "cuda")),
        glibc=tuple((pattern, _version(version, "glibc")) for pattern, version in _pairs(table, "glibc")),
    )


def choose_base(bases: Bases, cuda: str) -> tuple[str, str]:
    """Return the base image for an environment, and the reason for this choice.

    The tag with the newest CUDA version is chosen that has the same major version as `cuda` and is not newer. The reason is
    that an image of nvidia/cuda starts only if the driver supports the image's CUDA version (``NVIDIA_REQUIRE_CUDA``). If no
    tag fits, the image without CUDA is chosen.

    Args:
        bases: The table of base images.
        cuda: The minimum CUDA version of the driver; empty if the environment does not need CUDA, and then the returned
            reason is empty.
    """
    plain = f"{bases.repository}:{bases.plain}"
    if not cuda:
        return plain, ""
    requested = _numbers(cuda)
    fitting = [
        (_numbers(version), tag)
        for version, tag in bases.cuda
        if _numbers(version)[0] == requested[0] and _numbers(version)[:2] <= requested[:2]
    ]
    if not fitting:
        return plain, (
            f"the base image is {plain}, without CUDA: {TABLE} has no CUDA {requested[0]} that every driver with CUDA "
            f"{cuda} can run; the environment's own packages contain the CUDA libraries"
        )
    image = f"{bases.repository}:{max(fitting)[1]}"
    return image, (
        f"the base image is {image}, the newest in {TABLE} whose CUDA is not newer than the {cuda} that the environment "
        "requires of the driver"
    )


def known_glibc(bases: Bases, image: str) -> str:
    """Return the version of an image's C library according to the table; empty if the table does not list the image."""
    name = image.removeprefix("docker://").partition("@")[0]
    return next((version for pattern, version in bases.glibc if fnmatchcase(name, pattern)), "")


def check_glibc(bases: Bases, image: str, wanted: str, what: str) -> None:
    """Check that `image` is not known to have an older glibc than `wanted`.

    Args:
        bases: The table of base images.
        image: The image's address.
        wanted: The minimum version of glibc; empty for none.
        what: The name of the setting that holds `image`, for the message.

    Raises:
        DefinitionError: The table lists an older glibc for `image`.
    """
    known = known_glibc(bases, image)
    if known and wanted and _numbers(known) < _numbers(wanted):
        raise DefinitionError(
            f"{what} is {image}, whose C library is glibc {known}, but the environment's packages are locked for glibc "
            f"{wanted} or newer and cannot start in this image. Use a newer {what}, or lower 'glibc' of the workspace's "
            "platform or 'libc' in its system requirements, and run 'pixi lock'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version. A missing minor version is 0, because CUDA ``12`` guarantees only 12.0."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    return (*numbers, *(0 for _ in range(2 - len(numbers))))


def _pairs(table: Mapping[str, object], key: str) -> tuple[tuple[str, str], ...]:
    found = table.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TemplateError(f"{TABLE}: {key} is {found!r}; expected a table of strings")
    return tuple(found.items())


def _version(text: str, key: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise TemplateError(f'{TABLE}: {key} contains {text!r}; expected a version such as "12.9.1"')
    return text
