"""Build the lab's root file system with mmdebstrap. It stays in the cache, and is never modified afterwards."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from hpcdeploy.errors import LabError, MissingProgramError
from hpcdeploy.private import private_folder
from hpcdeploy_lab import archive, mirror, packages
from hpcdeploy_lab.releases import upstream
from hpcdeploy_lab.settings import LabSettings

Report = Callable[[str], None]

_PROGRAMS = {"mmdebstrap": "mmdebstrap", "mount": "mount", "unshare": "util-linux", "nsenter": "util-linux"}
"""Programs that the lab starts on this machine, and their packages; a bare Debian 13 has no mount(8)."""
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def path(settings: LabSettings) -> Path:
    """Return the path of this lab's root file system, whether it exists or not."""
    return settings.cache / f"rootfs-{packages.stamp(settings)}"


def ensure(settings: LabSettings, report: Report, lock: int) -> Path:
    """Build the root file system if it does not exist, and return its path.

    The root file system gets its final name at the end of the build. So if `path` exists, the root file system is complete.

    Args:
        settings: The lab's settings.
        report: Receives progress lines.
        lock: The file descriptor of the cache's lock. mmdebstrap inherits it, so that after a kill of this
            program, the next program waits until mmdebstrap has ended too.

    Raises:
        LabError: The mirror does not have the release of Slurm, or mmdebstrap failed; the message quotes the last
            lines of its output.
    """
    target = path(settings)
    if target.is_dir():
        return target
    private_folder(settings.cache)
    for leftover in settings.cache.glob("rootfs-*.part"):
        report(f"removing an unfinished root file system ({leftover})")
        shutil.rmtree(leftover)
    source = find_mirror()
    draft = target.with_name(target.name + ".part")
    if (
        settings.release.source != settings.suite
    ):  # to read the list takes seconds, to build a root file system more than a minute
        _refuse_missing(settings, source)
    pins = settings.cache / "preferences"
    pins.write_text(packages.preferences(settings))
    count = len(packages.chosen(settings))
    what = f"{settings.suite} with Slurm {settings.slurm} and {count - 1} other packages"
    report(f"building a root file system of {what}; this takes about a minute")
    try:
        _run_logged(command(settings, source, draft, pins), settings.cache / "mmdebstrap.log", lock)
    except LabError:
        _refuse_missing(settings, source)
        raise
    draft.replace(target)
    return target


def _refuse_missing(settings: LabSettings, source: mirror.Mirror) -> None:
    """Check that the mirror has the release of Slurm.

    Raises:
        LabError: The mirror does not have the release, or cannot be reached.
    """
    reason = archive.missing(settings.release, archive.read_version(source, settings.release.source), source.site)
    if reason:
        raise LabError(reason)


def command(settings: LabSettings, source: mirror.Mirror, draft: Path, pins: Path) -> list[str]:
    """Return the mmdebstrap(1) command that builds the root file system in `draft`.

    dpkg does not sync every file to disk (``force-unsafe-io``), because an unfinished draft is discarded.
    """
    options = [f"--aptopt={option}" for option in ('Acquire::Languages "none"', *source.options)]
    options += [f"--dpkgopt={option}" for option in ("force-unsafe-io", *(f"path-exclude={path}" for path in EXCLUDED))]
    return [
        *("unshare", "--mount", "--propagation", "private", "--"),  # so a killed mmdebstrap leaves no mount in the draft
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=directory",
        *options,
        '--setup-hook=mkdir -p "$1/etc/apt/preferences.d"',
        f"--setup-hook=copy-in {pins} /etc/apt/preferences.d",
        f"--include={','.join(packages.wanted(settings))}",
        settings.suite,
        str(draft),
        *(f"deb {source.site} {suite} main" for suite in packages.suites(settings)),
    ]


def slurm_version(root: Path) -> str:
    """Return the version of Slurm in a root file system, such as ``24.11.5``."""
    return upstream(packages.installed_version(root, archive.PACKAGE))


def ensure_programs(report: Report) -> None:
    """Install the missing programs that a lab needs on this machine, with apt-get.

    Raises:
        MissingProgramError: A program or Debian's keyring is missing, and this machine has no apt-get.
        LabError: apt-get fails.
    """
    wanted = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if not any(mirror.KEYRINGS.glob("debian-archive-*keyring*")):
        wanted.append("debian-archive-keyring")
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise MissingProgramError(
            f"the lab is built from Debian packages and needs {' and '.join(wanted)}, but there is no apt-get to install "
            "them. Install them from your distribution, or use a machine with Debian or Ubuntu"
        )
    report(f"installing {' and '.join(wanted)} on this machine with apt-get")
    _apt_get("update")
    _apt_get("install", "-y", "--no-install-recommends", *wanted)


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"apt-get {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}")


def find_mirror() -> mirror.Mirror:
    """Return the Debian mirror that the environment names, or else the mirror of this machine's apt.

    If apt has no lists yet, ``apt-get update`` fetches them first.

    Raises:
        LabError: Neither the environment nor apt has a Debian mirror, or ``apt-get update`` fails.
    """
    site = os.environ.get(mirror.VARIABLE, "").rstrip("/")
    if shutil.which("apt-get") is None:
        options: tuple[str, ...] = ()
    else:
        options = mirror.parse_options(_lines("apt-config", "dump"))
        if not site:
            targets = _lines(*mirror.INDEX_TARGETS)
            if not targets:
                _apt_get("update")
                targets = _lines(*mirror.INDEX_TARGETS)
            site = mirror.parse_site(targets)
    if not site:
        raise LabError(
            "the lab is built from Debian packages, but this machine's apt has no Debian mirror; "
            f"set {mirror.VARIABLE} to one near you (https://www.debian.org/mirror/list)"
        )
    return mirror.Mirror(site, options)


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def _run_logged(argv: list[str], log: Path, lock: int) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(lock,), umask=0o022, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"mmdebstrap ended with {done.returncode}; its output is in {log}, which ends with:\n{tail}")
