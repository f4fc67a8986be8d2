"""Addresses of images in registries: text in, plain values out."""

import ipaddress
import re
from dataclasses import dataclass, replace

from hpcdeploy.definition.addresses import registry_of
from hpcdeploy.errors import ConfigError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_DOCKER_HUB_ENDPOINT = "registry-1.docker.io"

# Grammar of path, tag and digest: OCI distribution specification, "Pulling manifests"; the length of a path is docker's.
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_LONGEST_PATH = 255
_HIGHEST_PORT = 65535
_SHOWN = "oras://HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One image's address: ``host`` with its port if it names one, ``path`` in the registry, tag and digest or empty.

    ``digest`` is ``sha256:`` and 64 hex digits. Where both are there, the digest is what counts. ``scheme`` is ``oras`` for
    a ``.sif``, ``docker`` for a container image.
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
        """Where the registry's API answers: Docker Hub's is not at the name that everybody writes."""
        return _DOCKER_HUB_ENDPOINT if self.host == DOCKER_HUB else self.host

    @property
    def hostname(self) -> str:
        """The host without its port and without the brackets of an IPv6 address."""
        return split_port(self.host)[0]

    @property
    def asked(self) -> str:
        """What a registry is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """Write the address as Apptainer takes it."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.scheme}://{self.repository}{tag}{digest}"


def split_port(host: str) -> tuple[str, str]:
    """Part ``host:port`` into host (no brackets) and port (empty if there is none)."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def parse_reference(text: str) -> Reference:
    """Read ``oras://host[:port]/path[:tag][@sha256:...]``, with or without the scheme.

    Docker Hub's several names become ``docker.io``, and its one-word paths get their ``library/``. A text whose first word
    is no host is refused, though docker would look for it on Docker Hub: a repository that was meant for somewhere else
    would be looked for there in silence.

    Raises:
        ConfigError: the text is no such address.
    """
    rest = text.removeprefix("oras://").removeprefix("docker://")
    if "://" in rest:
        raise ConfigError(f"{text!r} is not an image's address: expected {_SHOWN}, without {rest.partition('://')[0]}://.")
    host, slash, rest = rest.partition("/")
    if not slash or not rest:
        raise ConfigError(f"{text!r} is not an image's address: expected {_SHOWN}.")
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
            f"{text!r} has no usable digest after the @: expected sha256: and 64 hexadecimal digits in lower case."
        )
    host = host.lower()
    if host in _DOCKER_HUB_NAMES:
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    return Reference(host=host, path=path, tag=tag, digest=digest)


def parse_image(text: str) -> Reference:
    """Read a container image's address as docker does: without a registry's host it is Docker Hub's.

    The first part is a host where it holds a full stop or a colon, or is ``localhost``
    (distribution, reference/normalize.go).

    Raises:
        ConfigError: the text is no such address.
    """
    source = text.removeprefix("docker://")
    hub = "" if registry_of(source) != DOCKER_HUB or source.startswith(f"{DOCKER_HUB}/") else f"{DOCKER_HUB}/"
    return replace(parse_reference(hub + source), scheme="docker")


def check_tag(tag: str) -> str:
    """Give a tag back, or say why it is none.

    Raises:
        ConfigError: not 1 to 128 letters, digits, ``_``, ``.``, ``-``, starting with neither ``.`` nor ``-``.
    """
    if not _TAG.fullmatch(tag):
        raise ConfigError(
            f"{tag!r} cannot be a tag: expected 1 to 128 letters, digits, underscores, full stops and hyphens, "
            "beginning with a letter, a digit or an underscore."
        )
    return tag


def is_loopback(host: str) -> bool:
    """Tell whether a host (its port is allowed) is this machine: ``localhost``, 127.0.0.0/8, ``::1``.

    ``NAME.localhost`` is not: RFC 6761, section 6.3, asks resolvers to answer it with loopback, and one that does not asks
    DNS, where another machine may be given.
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
        raise ConfigError(f"{text!r} names no registry that could exist: {host!r} is not HOST or HOST:PORT.")
    if "." not in name and ":" not in host and name != "localhost":
        raise ConfigError(f"{text!r} does not begin with a registry's host; if Docker Hub is meant, write docker.io/{text}.")


def _check_path(text: str, path: str) -> None:
    if _PATH.fullmatch(path) and len(path) <= _LONGEST_PATH:
        return
    if path != path.lower() and _PATH.fullmatch(path.lower()):
        raise ConfigError(f"{text!r} has capital letters in its path, which no registry takes: write {path.lower()}.")
    raise ConfigError(
        f"{text!r} has a path that no registry takes: expected words of lower-case letters and digits, "
        f"parted by / and inside by . _ __ or -, at most {_LONGEST_PATH} characters."
    )
