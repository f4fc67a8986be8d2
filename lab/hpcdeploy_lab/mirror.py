"""Find the Debian mirror in the settings of this machine's apt. hpcdeploy contains no address of a mirror."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HPCDEPLOY_LAB_MIRROR"
"""The environment variable that names a Debian mirror, for a machine whose apt has none (such as Ubuntu)."""

KEYRINGS = Path("/usr/share/keyrings")
"""Folder in which Debian and Ubuntu store the signing keys of archives."""

INDEX_TARGETS = ("apt-get", "indextargets", "--format", "$(SITE)\t$(RELEASE)\t$(LABEL)", "Created-By: Packages")
"""Lists the archives whose Release files apt has fetched, one per line: site, release, label (apt-get(8))."""

_CARRIED_OPTIONS = re.compile(r"Acquire::(?:Check-Valid-Until|Check-Date|Retries|https?::(?:Proxy|Timeout)\b.*)")


@dataclass(frozen=True)
class Mirror:
    """A Debian mirror, and the apt options that this machine needs to use it."""

    site: str
    options: tuple[str, ...] = ()


def parse_site(targets: Iterable[str]) -> str:
    """Return the site of the Debian archive in apt's index targets; empty if there is none.

    The label of a Debian archive in its Release file is ``Debian``. Archives of updates have this label too, but the name
    of their release has a suffix, such as ``trixie-updates``. They are skipped, because they may lack the other suites.
    """
    for line in targets:
        site, _, rest = line.rstrip("\n").partition("\t")
        release, _, label = rest.partition("\t")
        if site.startswith(("http://", "https://")) and label == "Debian" and "-" not in release:
            return site.rstrip("/")
    return ""


def parse_options(dump: Iterable[str]) -> tuple[str, ...]:
    """Return the options in ``apt-config dump`` that apt needs to reach this machine's mirror: proxies, dates, retries."""
    kept = []
    for line in dump:
        key, _, value = line.strip().partition(" ")
        if _CARRIED_OPTIONS.fullmatch(key) and value not in ('"";', ""):
            kept.append(f"{key} {value.rstrip(';')}")
    return tuple(kept)
