"""The releases of Slurm that a lab can have, and where Debian has each of them."""

import re
from dataclasses import dataclass

from hpcdeploy.errors import ConfigError

VARIABLE = "HPCDEPLOY_LAB_SLURM"
"""The environment variable that chooses the release where no option does."""

NEWEST = "newest"
"""The word for the release that the mirror has in Debian's unstable suite now."""

UNSTABLE = "sid"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of Slurm, such as ``24.11``.

    ``suite`` is the Debian suite that the root file system is made from, ``source`` the suite that Slurm comes from. They
    differ where no stable suite has the release: all else then stays as stable as it can (sid alone has no HTCondor).
    """

    name: str
    suite: str
    source: str


# packages.debian.org, slurm-wlm: 22.05.8 in bookworm, 24.11.5 in trixie, 26.05.5 in sid (2026-11).
_KNOWN = (
    Release(name="22.05", suite="bookworm", source="bookworm"),
    Release(name="24.11", suite="trixie", source="trixie"),
    Release(name="26.05", suite="trixie", source=UNSTABLE),
)
RELEASES = {release.name: release for release in _KNOWN}

DEFAULT = "24.11"


def check_choice(word: str, where: str) -> str:
    """Return `word` if it is the name of a release or ``newest``; raise `ConfigError`, which begins with `where`, if not."""
    if word in RELEASES or word == NEWEST:
        return word
    raise ConfigError(f"{where}: no lab can have Slurm {word!r}; expected {', '.join(RELEASES)} or {NEWEST}")


def release_of(name: str) -> Release:
    """Return the release called `name`; one that is not listed is newer than all of those, and comes from sid."""
    return RELEASES.get(name) or Release(name=name, suite=RELEASES[DEFAULT].suite, source=UNSTABLE)


def release_name(version: str) -> str:
    """Return the release of a Debian package's version: ``26.05`` of ``26.05.5-1``; empty where it is not of that form.

    Slurm numbers its releases by year and month, and its bug fixes behind that (https://slurm.schedmd.com/upgrades.html).
    """
    found = re.match(r"(?:\d+:)?(\d\d\.\d\d)\.", version)
    return found[1] if found else ""


def upstream(version: str) -> str:
    """Return Slurm's own version of a Debian package's: ``22.05.8`` of ``22.05.8-4+deb12u3`` (deb-version(7))."""
    return version.rpartition(":")[2].partition("-")[0]
