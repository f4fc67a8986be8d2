"""Check host keys by OpenSSH's rules (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; hostfile.c)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal

from hpcdeploy.frozen import frozen
from hpcdeploy.transport.ssh_config import matches
from hpcdeploy.transport.ssh_settings import SshSettings

Verdict = Literal["known", "unknown", "changed", "revoked", "authority"]

_MARKERS = ("@revoked", "@cert-authority")


@frozen
class KnownKey:
    """One line of a known_hosts file.

    Attributes:
        marker: ``@revoked`` or ``@cert-authority``; empty if the line has no marker.
        hosts: The field with host names or their hash, unchanged.
        kind: The type of the key, such as ``ssh-ed25519``.
        key: The public key, decoded from base64.
        place: The file and line number, ``FILE:LINE``.
    """

    marker: str
    hosts: str
    kind: str
    key: bytes
    place: str


@frozen
class Finding:
    """The result of checking one host key.

    Attributes:
        verdict: ``known``, ``unknown``, ``changed`` (the lines have another key), ``revoked``, or ``authority`` (the lines
            only have a certificate authority).
        places: The lines on which the verdict is based, each as ``FILE:LINE``.
    """

    verdict: Verdict
    places: tuple[str, ...] = ()


def parse_known_hosts(text: str, file: str) -> tuple[KnownKey, ...]:
    """Parse a known_hosts file. As in OpenSSH, malformed lines are skipped."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3 or (marker and marker not in _MARKERS):
            continue
        hosts, kind, encoded = words[:3]
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:  # not base64 (`binascii.Error`), or not ASCII
            continue
        found.append(KnownKey(marker=marker, hosts=hosts, kind=kind, key=key, place=f"{file}:{number}"))
    return tuple(found)


def lookup_name(hostname: str, port: int) -> str:
    """Return how a known_hosts file names a host: ``[HOST]:PORT``, or only the host if the port is 22."""
    return hostname.lower() if port == 22 else f"[{hostname.lower()}]:{port}"


def keys_for(name: str, lines: Sequence[KnownKey]) -> tuple[KnownKey, ...]:
    """Return the lines for the host `name`."""
    return tuple(line for line in lines if _is_for(line.hosts, name))


def judge(key: bytes, hostname: str, port: int, alias: str | None, lines: Sequence[KnownKey]) -> Finding:
    """Check the public `key` of a host against `lines`.

    If the port is not 22 and there is no line for ``[HOST]:PORT``, the lines for the host without a port are used too. As
    in OpenSSH, the host is accepted if one of them has its key (sshconnect.c, ``check_host_key``).

    Args:
        key: The public key of the host.
        hostname: The host's name or address.
        port: The port of its SSH server.
        alias: HostKeyAlias, which replaces host and port; None if it is not set.
        lines: The parsed lines of all known_hosts files.
    """
    names = [alias] if alias else list(dict.fromkeys((lookup_name(hostname, port), hostname.lower())))
    first = _check_name(key, keys_for(names[0], lines))
    if first.verdict in ("unknown", "authority") and len(names) > 1:
        second = _check_name(key, keys_for(names[1], lines))
        if second.verdict in ("known", "revoked"):
            return second
    return first


def known_kinds(hostname: str, port: int, alias: str | None, lines: Sequence[KnownKey]) -> tuple[str, ...]:
    """Return the types of the host's known keys, such as ``ssh-ed25519``; the client requests a key of these types first."""
    names = [alias] if alias else list(dict.fromkeys((lookup_name(hostname, port), hostname.lower())))
    for name in names:
        if kinds := tuple(line.kind for line in keys_for(name, lines) if not line.marker):
            return kinds
    return ()


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key in the format of ``ssh-keygen -l``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _check_name(key: bytes, lines: Sequence[KnownKey]) -> Finding:
    def places(marker: str, *, same: bool | None = None) -> tuple[str, ...]:
        return tuple(line.place for line in lines if line.marker == marker and same in (None, line.key == key))

    if revoked := places("@revoked", same=True):
        return Finding(verdict="revoked", places=revoked)
    if known := places("", same=True):
        return Finding(verdict="known", places=known)
    if others := places(""):
        return Finding(verdict="changed", places=others)
    if authorities := places("@cert-authority"):
        return Finding(verdict="authority", places=authorities)
    return Finding(verdict="unknown")


def _is_for(hosts: str, name: str) -> bool:
    if hosts.startswith("|1|"):
        return _is_hash_of(hosts, name)
    return matches(name, hosts.split(","), ignore_case=True)


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        expected = base64.b64decode(digest, validate=True)
        found = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(found, expected)


def distrust_message(shown: str, settings: SshSettings, finding: Finding) -> str:
    """Return the error message for a host whose key `shown` (type and fingerprint) is not trusted."""
    places = ", ".join(finding.places)
    files = " or ".join(map(str, settings.known_hosts)) or "UserKnownHostsFile"
    match finding.verdict:
        case "changed":
            return (
                f"the host key of {settings.alias} does NOT match {places}: the host has the {shown}. This may be an "
                f"attack; ask the site, and replace that line only if the site confirms this fingerprint"
            )
        case "revoked":
            return f"{settings.alias} has the {shown}, which {places} marks as revoked: do not connect; ask the site"
        case "authority":
            return (
                f"for {settings.alias}, {places} has only a certificate authority, which hpcdeploy cannot check; "
                f"the host has the {shown}. Compare this fingerprint with the one that the site publishes, and add the "
                f"host's key to {files}"
            )
        case _:
            return (
                f"the host key of {settings.alias} is unknown: the host has the {shown}. Compare it with the key that the "
                f"site publishes. To add the key, run `{settings.login}` once and answer yes to this fingerprint "
                f"(ssh stores the key in {files})"
            )
