"""Look up the version of Slurm in a Debian mirror with this machine's apt, without changing apt's own lists."""

import os
import subprocess
import tempfile
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy_lab.mirror import KEYRINGS, VARIABLE, Mirror
from hpcdeploy_lab.releases import NEWEST, UNSTABLE, Release, release_name, upstream

PACKAGE = "slurm-wlm"


def read_version(source: Mirror, suite: str) -> str:
    """Return the version of Slurm's package in `suite`; empty if the mirror lacks the suite or the package.

    apt stores its lists (about 11 MB) in a temporary folder.

    Raises:
        LabError: The mirror cannot be reached; the message contains apt's error output.
    """
    with tempfile.TemporaryDirectory(prefix="hpcdeploy-apt-") as name:
        folder = Path(name)
        (folder / "sources.list").write_text(f"deb {_signed_by()}{source.site} {suite} main\n")
        (folder / "status").touch()
        (folder / "lists" / "partial").mkdir(parents=True)
        options = _options(folder, source)
        done = _run(["apt-get", "-q", "update", *options])
        if done.returncode:
            if "does not have a Release file" in done.stderr:  # apt's message after a 404 for both InRelease and Release
                return ""
            raise LabError(f"the mirror {source.site} cannot be read; apt-get update failed:\n{done.stderr.strip()[-1000:]}")
        return parse_madison(_run(["apt-cache", "madison", PACKAGE, *options]).stdout)


def parse_madison(text: str) -> str:
    """Return the version in the first line of ``apt-cache madison``; empty if the output is empty.

    The first line has the highest version.
    """
    fields = text.partition("\n")[0].split("|")
    return fields[1].strip() if len(fields) > 1 else ""


def newest(source: Mirror) -> str:
    """Return the name of the release of Slurm that the mirror has in the suite sid, such as ``26.05``.

    Raises:
        LabError: The mirror cannot be reached, or has no Slurm in sid.
    """
    found = release_name(read_version(source, UNSTABLE))
    if not found:
        raise LabError(f"the mirror {source.site} has no Slurm in {UNSTABLE}; set another mirror in {VARIABLE}")
    return found


def missing(release: Release, version: str, site: str) -> str:
    """Return the message for a mirror that does not have `release`; empty if it has the release.

    Args:
        release: The requested release.
        version: The version of Slurm that the mirror has in the release's suite; empty if the suite has no Slurm.
        site: The address of the mirror, for the message.
    """
    if release_name(version) == release.name:
        return ""
    has = f"Slurm {upstream(version)} in {release.source}" if version else f"no Slurm in {release.source} any more"
    remedy = f"use --slurm {NEWEST}, or " if version and release.source == UNSTABLE else ""
    return (
        f"the mirror {site} has {has}; expected Slurm {release.name}; {remedy}set {VARIABLE} to a mirror that still has it"
    )


def _options(folder: Path, source: Mirror) -> list[str]:
    """Return the options that make apt use only `folder`, and fail if any list cannot be fetched."""
    settings = (
        *(f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::Etc::sourceparts=/dev/null"),
        *(f"Dir::State={folder}", f"Dir::State::status={folder}/status", f"Dir::Cache={folder}/cache"),
        *("Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null"),
        *("Acquire::Languages=none", "APT::Sandbox::User=root", "APT::Update::Error-Mode=any"),
    )
    return [word for setting in (*settings, *_as_arguments(source.options)) for word in ("-o", setting)]


def _as_arguments(options: tuple[str, ...]) -> list[str]:
    """Convert options from the format of apt.conf(5), ``Name "value"``, to that of the command line, ``Name=value``."""
    return [f"{name}={value.strip().strip(chr(34))}" for name, _, value in (option.partition(" ") for option in options)]


def _signed_by() -> str:
    """Return the option that makes apt use Debian's keys, because apt of another distribution does not trust them.

    The result is empty if Debian's keys are not installed.
    """
    found = sorted(KEYRINGS.glob("debian-archive-keyring.*"))
    return f"[signed-by={found[0]}] " if found else ""


def _run(argv: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
