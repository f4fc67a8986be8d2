"""Redirect base images to mirrors and to registries on loopback at build time."""

import ipaddress
import re
from collections.abc import Sequence

from hpcdeploy.definition.base_images import registry_of
from hpcdeploy.definition.grammar import read_definition, split_stages
from hpcdeploy.errors import DefinitionError

_FROM = re.compile(r"^(?P<key>From:\s*)(?P<source>\S+)", re.IGNORECASE | re.MULTILINE)
_SECTION = re.compile(r"^[^\S\n]*%", re.MULTILINE)


def redirect(text: str, mirrors: Sequence[tuple[str, str]]) -> str:
    """Replace each base image in ``From`` by its mirror.

    Args:
        text: The definition.
        mirrors: Pairs of a registry or repository prefix and its replacement. The longest matching prefix wins; it must
            end at a component boundary. A name without a registry belongs to Docker Hub.
    """

    def stage(part: str) -> str:
        section = _SECTION.search(part)
        end = section.start() if section else len(part)
        return _FROM.sub(lambda match: match["key"] + mirrored(match["source"], mirrors), part[:end]) + part[end:]

    return "".join(map(stage, split_stages(text)))


def needs_plain_http(text: str) -> bool:
    """Tell whether base images come from a registry on loopback, which is accessed without TLS.

    Raises:
        DefinitionError: Other base images come from elsewhere. Apptainer's switch (``APPTAINER_NOHTTPS``) applies to a
            whole build, so these would be fetched without TLS too.
    """
    registries = {
        registry_of(stage.header.get("from", ""))
        for stage in read_definition(text)
        if stage.header.get("bootstrap", "").lower() in ("docker", "oras")
    }
    loopback = {registry for registry in registries if _is_loopback(registry)}
    if loopback and registries - loopback:
        raise DefinitionError(
            f"the base images come from {', '.join(sorted(registries))}: one is on loopback and needs plain HTTP, which "
            "Apptainer can only enable for all of them. Use one registry, or configure a mirror for the others"
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
