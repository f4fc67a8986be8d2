"""The lab's root file system: made once by mmdebstrap, kept in the cache, never written to afterwards."""

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
"""What the lab starts on this machine itself, and the packages that bring it; a bare Debian 13 has no mount(8)."""
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def path(settings: LabSettings) -> Path:
    """Return where this lab's root file system lies, made or not."""
    return settings.cache / f"rootfs-{packages.stamp(settings)}"


def ensure(settings: LabSettings, report: Report, lock: int) -> Path:
    """Return the root file system, making it first where it is not there.

    It appears by rename: a `path` that exists is whole. `lock` is the file descriptor of the cache's lock, which mmdebstrap
    inherits: if this program is killed, the next one waits until mmdebstrap has ended too.
    Raises `LabError` where the mirror does not have the release of Slurm, else with mmdebstrap's last lines.
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
    if settings.release.source != settings.suite:  # a list that says so costs seconds, a root file system more than a minute
        _refuse_missing(settings, source)
    pins = settings.cache / "preferences"
    pins.write_text(packages.preferences(settings))
    count = len(packages.chosen(settings))
    what = f"{settings.suite} with Slurm {settings.slurm} and {count - 1} other packages"
    report(f"making a root file system of {what}; this takes a minute or so")
    try:
        _run_logged(command(settings, source, draft, pins), settings.cache / "mmdebstrap.log", lock)
    except LabError:
        _refuse_missing(settings, source)
        raise
    draft.replace(target)
    return target


def _refuse_missing(settings: LabSettings, source: mirror.Mirror) -> None:
    """Raise `LabError` where the mirror does not have the release of Slurm."""
    reason = archive.missing(settings.release, archive.read_version(source, settings.release.source), source.site)
    if reason:
        raise LabError(reason)


def command(settings: LabSettings, source: mirror.Mirror, draft: Path, pins: Path) -> list[str]:
    """Plan the mmdebstrap(1) command that makes the root file system in `draft`.

    dpkg need not force every file to the disk one by one: a draft that is not finished is thrown away.
    """
    options = [f"--aptopt={option}" for option in ('Acquire::Languages "none"', *source.options)]
    options += [f"--dpkgopt={option}" for option in ("force-unsafe-io", *(f"path-exclude={path}" for path in EXCLUDED))]
    return [
        *("unshare", "--mount", "--propagation", "private", "--"),  # a killed mmdebstrap leaves no mount in its draft
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
    """Install what a lab is made and started with where this is Debian or Ubuntu; say what is missing elsewhere.

    Raises `MissingProgramError` where nothing can be installed, `LabError` where apt-get fails.
    """
    wanted = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if not any(mirror.KEYRINGS.glob("debian-archive-*keyring*")):
        wanted.append("debian-archive-keyring")
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise MissingProgramError(
            f"the lab is made from Debian packages and needs {' and '.join(wanted)}, and no apt-get is here to install "
            "them with; install them from your distribution, or use a machine with Debian or Ubuntu"
        )
    report(f"installing {' and '.join(wanted)} on this machine with apt-get")
    _apt_get("update")
    _apt_get("install", "-y", "--no-install-recommends", *wanted)


def _apt_get(*words: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"apt-get {' '.join(words)} ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}")


def find_mirror() -> mirror.Mirror:
    """Ask the environment, then this machine's apt; an apt that never looked is made to look first.

    Raises `LabError` where neither knows a Debian mirror.
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
            "the lab is made from Debian packages, and this machine's apt knows no Debian mirror; "
            f"name one near you in {mirror.VARIABLE} (https://www.debian.org/mirror/list)"
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
        raise LabError(f"mmdebstrap ended with {done.returncode}; all it said is in {log}, which ends:\n{tail}")
