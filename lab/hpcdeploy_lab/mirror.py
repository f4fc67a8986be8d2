"""Where Debian packages come from: this machine's own apt says so, nothing is written down here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HPCDEPLOY_LAB_MIRROR"
"""The environment variable that names a Debian mirror on a machine whose apt knows none, such as one with Ubuntu."""

KEYRINGS = Path("/usr/share/keyrings")
"""Where Debian and Ubuntu keep the keys that archives are signed with."""

INDEX_TARGETS = ("apt-get", "indextargets", "--format", "$(SITE)\t$(RELEASE)\t$(LABEL)", "Created-By: Packages")
"""Lists the archives whose Release files apt has fetched, a line each: site, release, label (apt-get(8))."""

_CARRIED_OPTIONS = re.compile(r"Acquire::(?:Check-Valid-Until|Check-Date|Retries|https?::(?:Proxy|Timeout)\b.*)")


@dataclass(frozen=True)
class Mirror:
    """A Debian mirror and the apt options that this machine needs to use it."""

    site: str
    options: tuple[str, ...] = ()


def parse_site(targets: Iterable[str]) -> str:
    """Pick the Debian archive out of apt's index targets; empty where there is none.

    It is the one that calls itself ``Debian`` in its Release file. Archives of updates do so too, but carry a suffix, and
    are passed over: they need not hold the other suites.
    """
    for line in targets:
        site, _, rest = line.rstrip("\n").partition("\t")
        release, _, label = rest.partition("\t")
        if site.startswith(("http://", "https://")) and label == "Debian" and "-" not in release:
            return site.rstrip("/")
    return ""


def parse_options(dump: Iterable[str]) -> tuple[str, ...]:
    """Keep from ``apt-config dump`` what a new root file system needs to reach the same mirror: proxies, dates, retries."""
    kept = []
    for line in dump:
        key, _, value = line.strip().partition(" ")
        if _CARRIED_OPTIONS.fullmatch(key) and value not in ('"";', ""):
            kept.append(f"{key} {value.rstrip(';')}")
    return tuple(kept)
