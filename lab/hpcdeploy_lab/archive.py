"""Query a Debian mirror for its release of Slurm, with this machine's apt; the machine itself is not changed."""

import os
import subprocess
import tempfile
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy_lab.mirror import KEYRINGS, VARIABLE, Mirror
from hpcdeploy_lab.releases import NEWEST, UNSTABLE, Release, release_name, upstream

PACKAGE = "slurm-wlm"


def read_version(source: Mirror, suite: str) -> str:
    """Return the version of Slurm's package that `suite` has; empty where the mirror has no such suite or package.

    apt keeps its lists in a folder that is thrown away. About 11 MB are fetched. Raises `LabError` with apt's error output
    where the mirror cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="hpcdeploy-apt-") as name:
        folder = Path(name)
        (folder / "sources.list").write_text(f"deb {_signed_by()}{source.site} {suite} main\n")
        (folder / "status").touch()
        (folder / "lists" / "partial").mkdir(parents=True)
        options = _options(folder, source)
        done = _run(["apt-get", "-q", "update", *options])
        if done.returncode:
            if "does not have a Release file" in done.stderr:  # what apt makes of a 404 for both InRelease and Release
                return ""
            raise LabError(f"the mirror {source.site} cannot be read; apt-get update says:\n{done.stderr.strip()[-1000:]}")
        return parse_madison(_run(["apt-cache", "madison", PACKAGE, *options]).stdout)


def parse_madison(text: str) -> str:
    """Return the highest version in what ``apt-cache madison`` prints, the first line's; empty where it prints nothing."""
    fields = text.partition("\n")[0].split("|")
    return fields[1].strip() if len(fields) > 1 else ""


def newest(source: Mirror) -> str:
    """Return the name of the release that the mirror has in sid; raise `LabError` where it has none."""
    found = release_name(read_version(source, UNSTABLE))
    if not found:
        raise LabError(f"the mirror {source.site} has no Slurm in {UNSTABLE}; name another mirror in {VARIABLE}")
    return found


def missing(release: Release, version: str, site: str) -> str:
    """Return what to tell the person where a suite has `version` (empty: none) in place of `release`; empty if it has it."""
    if release_name(version) == release.name:
        return ""
    has = f"Slurm {upstream(version)} in {release.source}" if version else f"no Slurm in {release.source} any more"
    remedy = f"use --slurm {NEWEST}, or " if version and release.source == UNSTABLE else ""
    return (
        f"the mirror {site} has {has}; expected Slurm {release.name}; {remedy}name in {VARIABLE} a mirror that still has it"
    )


def _options(folder: Path, source: Mirror) -> list[str]:
    """Return the options that make apt use `folder` and nothing else, and fail where any list cannot be fetched."""
    settings = (
        *(f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::Etc::sourceparts=/dev/null"),
        *(f"Dir::State={folder}", f"Dir::State::status={folder}/status", f"Dir::Cache={folder}/cache"),
        *("Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null"),
        *("Acquire::Languages=none", "APT::Sandbox::User=root", "APT::Update::Error-Mode=any"),
    )
    return [word for setting in (*settings, *_as_words(source.options)) for word in ("-o", setting)]


def _as_words(options: tuple[str, ...]) -> list[str]:
    """Turn options in the form of apt.conf(5), ``Name "value"``, into that of the command line, ``Name=value``."""
    return [f"{name}={value.strip().strip(chr(34))}" for name, _, value in (option.partition(" ") for option in options)]


def _signed_by() -> str:
    """Return the option that names Debian's own keys: a machine with another distribution does not trust them otherwise."""
    found = sorted(KEYRINGS.glob("debian-archive-keyring.*"))
    return f"[signed-by={found[0]}] " if found else ""


def _run(argv: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
