"""Parse references to images in registries."""

import ipaddress
import re
from dataclasses import replace

from hpcdeploy.definition.base_images import registry_of
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_DOCKER_HUB_ENDPOINT = "registry-1.docker.io"

# Grammar of path, tag and digest: OCI distribution specification, "Pulling manifests". The maximum length of a path is that
# of docker (distribution/reference, reference.go, NameTotalLengthMax).
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_LONGEST_PATH = 255
_HIGHEST_PORT = 65535
_SHOWN = "oras://HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]"


@frozen
class Reference:
    """The reference of one image.

    Attributes:
        host: The host of the registry in lower case, with a port if the reference has one. It is ``docker.io`` for all
            names of Docker Hub.
        path: The path of the repository in the registry, such as ``group/project/image``.
        tag: The tag; empty for none.
        digest: ``sha256:`` and 64 hex digits; empty for none. It takes precedence over the tag.
        scheme: ``oras`` for a ``.sif``, ``docker`` for a container image.
    """

    host: str
    path: str
    tag: str = ""
    digest: str = ""
    scheme: str = "oras"

    @property
    def repository(self) -> str:
        """``host[:port]/path``, without scheme, tag or digest."""
        return f"{self.host}/{self.path}"

    @property
    def endpoint(self) -> str:
        """The host of the registry's API, with its port: ``registry-1.docker.io`` for Docker Hub, else ``host``."""
        return _DOCKER_HUB_ENDPOINT if self.host == DOCKER_HUB else self.host

    @property
    def hostname(self) -> str:
        """The host without its port and without the brackets of an IPv6 address."""
        return split_port(self.host)[0]

    @property
    def asked(self) -> str:
        """The name of the manifest in requests: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """Return the reference in Apptainer's format."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.scheme}://{self.repository}{tag}{digest}"


def split_port(host: str) -> tuple[str, str]:
    """Split ``HOST`` or ``HOST:PORT`` into the host without brackets, and the port (empty if there is none)."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def parse_reference(text: str) -> Reference:
    """Parse ``oras://HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]``. The scheme may be missing, or ``docker``.

    All names of Docker Hub become ``docker.io``, and its paths of one component get the prefix ``library/``. docker accepts
    a reference without a host, and looks it up on Docker Hub. This function rejects it, because the user may have
    forgotten the host of another registry.

    Raises:
        ConfigError: `text` is malformed.
    """
    rest = text.removeprefix("oras://").removeprefix("docker://")
    if "://" in rest:
        raise ConfigError(f"{text!r} is not an image reference: expected {_SHOWN}, without {rest.partition('://')[0]}://")
    host, slash, rest = rest.partition("/")
    if not slash or not rest:
        raise ConfigError(f"{text!r} is not an image reference: expected {_SHOWN}")
    rest, at, digest = rest.partition("@")
    last = rest.rfind("/") + 1
    name, colon, tag = rest[last:].partition(":")
    path = rest[:last] + name
    _check_host(text, host)
    _check_path(text, path)
    if colon:
        check_tag(tag)
    if at and not _DIGEST.fullmatch(digest):
        raise ConfigError(
            f"{text!r} has no valid digest after the @: expected sha256: and 64 hexadecimal digits in lower case"
        )
    host = host.lower()
    if host in _DOCKER_HUB_NAMES:
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    return Reference(host=host, path=path, tag=tag, digest=digest)


def parse_image(text: str) -> Reference:
    """Parse the reference of a container image like docker. A reference without a host is one of Docker Hub.

    The first component of the path is a host if it has a full stop or a colon, or is ``localhost`` (distribution,
    reference/normalize.go).

    Raises:
        ConfigError: `text` is malformed.
    """
    source = text.removeprefix("docker://")
    hub = "" if registry_of(source) != DOCKER_HUB or source.startswith(f"{DOCKER_HUB}/") else f"{DOCKER_HUB}/"
    return replace(parse_reference(hub + source), scheme="docker")


def check_tag(tag: str) -> str:
    """Return a tag if it is valid.

    Raises:
        ConfigError: The tag has another length than 1 to 128 characters, has a character other than ASCII letters, digits,
            ``_``, ``.`` and ``-``, or starts with ``.`` or ``-``.
    """
    if not _TAG.fullmatch(tag):
        raise ConfigError(
            f"{tag!r} cannot be a tag: expected 1 to 128 letters, digits, underscores, full stops and hyphens, "
            "starting with a letter, a digit or an underscore"
        )
    return tag


def is_digest(text: str) -> bool:
    """Tell whether `text` is a digest: ``sha256:`` and 64 hexadecimal digits in lower case."""
    return _DIGEST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Tell whether a host (with or without port) is this machine: ``localhost``, 127.0.0.0/8, ``::1``.

    The result is false for ``NAME.localhost``, because DNS may return another machine for it. (RFC 6761, section 6.3, only
    recommends that resolvers return a loopback address.)
    """
    name = split_port(host)[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_host(text: str, host: str) -> None:
    name, port = split_port(host)
    if not _HOST.fullmatch(host) or (port and not 0 < int(port) <= _HIGHEST_PORT):
        raise ConfigError(f"{text!r} has an invalid registry: {host!r} is not HOST or HOST:PORT")
    if "." not in name and ":" not in host and name != "localhost":
        raise ConfigError(
            f"{text!r} does not begin with a registry's host, such as ghcr.io/; for Docker Hub write docker.io/{text}"
        )


def _check_path(text: str, path: str) -> None:
    if _PATH.fullmatch(path) and len(path) <= _LONGEST_PATH:
        return
    if path != path.lower() and _PATH.fullmatch(path.lower()):
        raise ConfigError(f"{text!r} has capital letters in its path, which registries do not accept: write {path.lower()}")
    raise ConfigError(
        f"{text!r} has a path that registries do not accept: expected names of lower-case letters and digits, "
        f"separated by / and containing . _ __ or -, at most {_LONGEST_PATH} characters"
    )


# Maximum size of a layer in bytes, by host. Source for ghcr.io: GitHub Docs, "Working with the Container registry". (GitHub
# also limits the duration of an upload to 10 minutes, which is not checked here.)
_LARGEST_LAYER = {"ghcr.io": 10 * 10**9}
_GIGABYTE = 10**9


def size_warning(reference: Reference, size: int) -> str:
    """Return a warning if the registry is known to reject an image of `size` bytes; empty otherwise."""
    limit = _LARGEST_LAYER.get(reference.host)
    if limit is None or size <= limit:
        return ""
    return (
        f"the image has {size / _GIGABYTE:.1f} GB but {reference.host} accepts at most {limit / _GIGABYTE:.0f} GB "
        "per layer; make the image smaller or use another registry"
    )
