"""The releases of Slurm that a lab can have, and the Debian suites that contain them."""

import re
from dataclasses import dataclass

from hpcdeploy.errors import ConfigError

VARIABLE = "HPCDEPLOY_LAB_SLURM"
"""The environment variable that selects the release if the option ``--slurm`` is not used."""

NEWEST = "newest"
"""The value of ``--slurm`` that selects the release in Debian's unstable suite, as the mirror has it when the lab starts."""

UNSTABLE = "sid"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of Slurm, such as ``24.11``.

    ``suite`` is the Debian suite of the root file system, ``source`` the suite that Slurm is installed from. If no stable
    suite has the release, ``source`` is sid, and ``suite`` is still a stable one, because sid has no HTCondor.
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
    """Return `word` if it is the name of a release or ``newest``.

    Args:
        word: The user's choice.
        where: The option or variable with the choice, for the message.

    Raises:
        ConfigError: `word` is neither a release of `RELEASES` nor ``newest``.
    """
    if word in RELEASES or word == NEWEST:
        return word
    raise ConfigError(f"{where}: a lab cannot have Slurm {word!r}; expected {', '.join(RELEASES)} or {NEWEST}")


def release_of(name: str) -> Release:
    """Return the release `name`. A release that is not in `RELEASES` is newer, so it is installed from sid."""
    return RELEASES.get(name) or Release(name=name, suite=RELEASES[DEFAULT].suite, source=UNSTABLE)


def release_name(version: str) -> str:
    """Return the release from the version of a Debian package: ``26.05`` for ``26.05.5-1``; empty for another format.

    Slurm numbers its releases by year and month, followed by the bug fix number
    (https://slurm.schedmd.com/upgrades.html).
    """
    found = re.match(r"(?:\d+:)?(\d\d\.\d\d)\.", version)
    return found[1] if found else ""


def upstream(version: str) -> str:
    """Return Slurm's version from that of its package: ``22.05.8`` for ``22.05.8-4+deb12u3`` (deb-version(7))."""
    return version.rpartition(":")[2].partition("-")[0]
