"""Whether a host's key is the one we know, by OpenSSH's own rules (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; hostfile.c)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hpcdeploy.transport.patterns import matches
from hpcdeploy.transport.ssh_settings import SshSettings

Verdict = Literal["known", "unknown", "changed", "revoked", "authority"]

_MARKERS = ("@revoked", "@cert-authority")


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """One line of a known_hosts file: ``hosts`` as written, ``key`` the bare public key, ``place`` is file:line."""

    marker: str
    hosts: str
    kind: str
    key: bytes
    place: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the files say of one key; ``places`` are the lines that say it."""

    verdict: Verdict
    places: tuple[str, ...] = ()


def parse_known_hosts(text: str, file: str) -> tuple[KnownKey, ...]:
    """Read a known_hosts file. Lines that OpenSSH cannot read it skips, and so does this."""
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
        except ValueError:  # no base64 (`binascii.Error`), or no ASCII
            continue
        found.append(KnownKey(marker=marker, hosts=hosts, kind=kind, key=key, place=f"{file}:{number}"))
    return tuple(found)


def lookup_name(hostname: str, port: int) -> str:
    """Return the name under which a host is kept: with its port in brackets where that is not 22."""
    return hostname.lower() if port == 22 else f"[{hostname.lower()}]:{port}"


def keys_for(name: str, lines: Sequence[KnownKey]) -> tuple[KnownKey, ...]:
    """Return the lines that speak of the host `name`."""
    return tuple(line for line in lines if _speaks_of(line.hosts, name))


def judge(key: bytes, hostname: str, port: int, alias: str | None, lines: Sequence[KnownKey]) -> Finding:
    """Say what `lines` make of the bare public `key` that the host showed.

    `alias` is HostKeyAlias, which stands for host and port. A host on another port than 22 that is not known as such is
    also known by its bare name, if that has this very key (sshconnect.c, ``check_host_key``).
    """
    names = [alias] if alias else list(dict.fromkeys((lookup_name(hostname, port), hostname.lower())))
    first = _judge_name(key, keys_for(names[0], lines))
    if first.verdict in ("unknown", "authority") and len(names) > 1:
        second = _judge_name(key, keys_for(names[1], lines))
        if second.verdict in ("known", "revoked"):
            return second
    return first


def known_kinds(hostname: str, port: int, alias: str | None, lines: Sequence[KnownKey]) -> tuple[str, ...]:
    """Return the kinds of key (``ssh-ed25519``) by which the host is known: those are to be asked for first."""
    names = [alias] if alias else list(dict.fromkeys((lookup_name(hostname, port), hostname.lower())))
    for name in names:
        if kinds := tuple(line.kind for line in keys_for(name, lines) if not line.marker):
            return kinds
    return ()


def fingerprint(key: bytes) -> str:
    """Return a key's fingerprint as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _judge_name(key: bytes, lines: Sequence[KnownKey]) -> Finding:
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


def _speaks_of(hosts: str, name: str) -> bool:
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


def distrust(shown: str, settings: SshSettings, finding: Finding) -> str:
    """Say why the host that showed the key `shown` (kind and fingerprint) is not trusted, and what to do."""
    places = ", ".join(finding.places)
    files = " or ".join(map(str, settings.known_hosts)) or "UserKnownHostsFile"
    match finding.verdict:
        case "changed":
            return (
                f"the host key of {settings.alias} is NOT the one on record at {places}: it shows the {shown}. Somebody may "
                f"stand between; ask the site, and only if it confirms this fingerprint replace that line"
            )
        case "revoked":
            return f"{settings.alias} shows the {shown}, which {places} marks as revoked: do not connect; ask the site"
        case "authority":
            return (
                f"{settings.alias} is vouched for by a certificate authority ({places}), which hpcdeploy cannot check: "
                f"add its own key to {files} after comparing it with what the site publishes; it shows the {shown}"
            )
        case _:
            return (
                f"the host key of {settings.alias} is unknown: it shows the {shown}. Compare that with what the site "
                f"publishes; to add it, run `{settings.login}` once and answer yes to that very fingerprint "
                f"(it goes to {files})"
            )
