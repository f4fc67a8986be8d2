"""Choose the platform of an image, by comparing the manifest's platforms with the lock file.

Sources: prefix-dev/pixi 0.77, ``crates/pixi_core/src``: ``lock_file/platform_rename.rs`` and
``lock_file/satisfiability/platform.rs`` (``resolve_lock_platform_for``: the part of a lock file for a platform),
``workspace/environment.rs`` (``best_declared_platform``: pixi uses the manifest's first platform that the machine can run).
"""

from collections.abc import Mapping, Sequence

from hpcdeploy.architecture import AMD64, ARCHITECTURES, Architecture
from hpcdeploy.environments.microarchitectures import check_family
from hpcdeploy.environments.pixi import Environment, Workspace
from hpcdeploy.environments.pixi_lock import LockFile, Row, not_locked
from hpcdeploy.environments.pixi_platform import (
    Platform,
    at_most,
    customised,
    highest,
    promise,
    same_version,
)
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import nearest


@frozen
class Choice:
    """The platform of an image.

    Attributes:
        platform: The platform with the manifest's name. It has the virtual packages that the lock file lists, or those of
            the manifest if the lock file lists none.
        row: The platform's entry in the lock file.
        others: The environment's other platforms for the same conda subfolder.
        named: The manifest's name of each platform by its name in the lock file, which may be an alias.
        cuda: The image's CUDA version; empty for none, None to use the platform's.
    """

    platform: Platform
    row: Row
    others: tuple[Platform, ...] = ()
    named: Mapping[str, str]
    cuda: str | None = None

    @property
    def cuda_note(self) -> str:
        """A note if the image's CUDA version differs from the platform's; otherwise empty."""
        if not self.cuda or (same_version(self.cuda, self.platform.cuda) if self.platform.cuda else not self.others):
            return ""
        return (
            f"the packages were solved for {_described(self.platform)}, but the base image and "
            f"CONDA_OVERRIDE_CUDA are for CUDA {self.cuda}, as set by the image's 'cuda' or CUDA_VERSION"
        )

    @property
    def note(self) -> str:
        """A note on the platform and its alternatives; empty if there is no other platform."""
        if not self.others:
            return ""
        return (
            f"the image is for the platform {_described(self.platform)}; the environment is also locked for "
            f"{', '.join(map(_described, self.others))}: use "
            f'pixi = {{ platform = "{self.others[0].name}" }} to select {self.others[0].name}'
        )


def choose_platform(
    workspace: Workspace,
    environment: Environment,
    lock: LockFile,
    *,
    cuda: str | None = None,
    platform: str = "",
    architecture: Architecture = AMD64,
) -> Choice:
    """Choose the platform of `environment` for an image.

    If `platform` is set, the platform with this name is chosen. Otherwise, if `cuda` is set, the platform that fits `cuda`
    is chosen. If neither is set, the first platform in the manifest is chosen, as by Pixi on a machine that can run all
    platforms.

    Args:
        workspace: The workspace.
        environment: The environment.
        lock: The lock file.
        cuda: The CUDA version of the image; empty for none, None if it is not set.
        platform: The name of the platform; empty if it is not set.
        architecture: The architecture of the image.

    Raises:
        EnvironmentFileError: No platform fits, `cuda` contradicts the named platform, or the lock file does not match the
            manifest.
    """
    subdir = architecture.subdir
    if platform:
        _check_subdir(workspace, platform, subdir)
    candidates = workspace.platforms_for(environment, subdir)
    rows = lock.rows(environment.name, subdir)
    if not rows:
        raise not_locked(lock, environment.name, subdir)
    matched = [(_promised(one, row), row) for one in candidates if (row := _row_of(one, rows)) is not None]
    if len(matched) < len(candidates):
        found = {one.name for one, _ in matched}
        raise _mismatch(workspace, environment, lock, rows, [one for one in candidates if one.name not in found])
    taken = _named(workspace, environment, [one for one, _ in matched], platform) if platform else None
    if taken is not None:
        _check_cuda(taken, cuda, workspace.file)
    else:
        taken = _fitting([one for one, _ in matched], cuda, workspace.file, environment.name)
    check_family(taken.archspec, f"{workspace.file}: the platform {taken.name!r}", architecture)
    return Choice(
        platform=taken,
        row=next(row for one, row in matched if one is taken),
        others=tuple(one for one, _ in matched if one is not taken),
        named={row.key: one.name for one, row in matched if row.key != row.subdir},
        cuda=cuda,
    )


def _promised(platform: Platform, row: Row) -> Platform:
    return platform if row.listed is None else promise(platform, row.listed)


def _row_of(platform: Platform, rows: Sequence[Row]) -> Row | None:
    """Return the entry in the lock file for a platform; None if there is none.

    The entry has the platform's name, or lists the same virtual packages. An entry with the subfolder's name and without
    virtual packages comes from an older Pixi, which did not record them. It applies to every platform of the subfolder.
    """
    same_name = [row for row in rows if row.key == platform.name]
    for row in same_name:
        if row.listed is None or _fits(platform, row.listed, strict=False):
            return row
    if same_name and platform.name != platform.subdir:
        return None
    for strict in (True, False):
        alike = [row for row in rows if row.listed is not None and _fits(platform, row.listed, strict=strict)]
        if len(alike) == 1:
            return alike[0]
    bare = [row for row in rows if row.key == platform.subdir and row.listed is None]
    return bare[0] if bare else None


def _fits(platform: Platform, listed: Mapping[str, str], *, strict: bool) -> bool:
    """Tell whether the virtual packages that the lock file lists are those of a platform.

    Unless `strict`, the versions of kernel and glibc are ignored if the platform does not set them, because Pixi's defaults
    for these versions changed.
    """
    wanted, found = platform.virtual_packages, customised(listed, platform.subdir)
    declared = {*wanted, *(("__glibc",) if platform.glibc else ())}
    names = {*wanted, *found} - (set() if strict else {"__linux", "__glibc"} - declared)
    return all(same_version(wanted.get(name, ""), found.get(name, "")) for name in names)


def _check_subdir(workspace: Workspace, name: str, subdir: str) -> None:
    """Raise `EnvironmentFileError` if the manifest has no platform `name`, or if it is for another conda subfolder."""
    declared = {one.name: one for one in workspace.platforms}
    if name not in declared:
        raise EnvironmentFileError(f"{workspace.file} has no platform {name!r}; {nearest(name, tuple(declared))}")
    found = declared[name].subdir
    if found == subdir:
        return
    possible = found in {one.subdir for one in ARCHITECTURES}
    advice = f', or set the image\'s platform = "{found}"' if possible else ""
    raise EnvironmentFileError(
        f"the platform {name!r} is for {found}, but the image is built for {subdir}; use a platform for {subdir}{advice}"
    )


def _named(workspace: Workspace, environment: Environment, platforms: Sequence[Platform], name: str) -> Platform:
    for platform in platforms:
        if platform.name == name:
            return platform
    raise EnvironmentFileError(
        f"{workspace.file}: the environment {environment.name!r} does not support the platform {name!r}, only "
        f"{', '.join(one.name for one in platforms)}; use one of these, or add it to the platforms and run 'pixi lock'"
    )


def _fitting(platforms: Sequence[Platform], cuda: str | None, file: str, environment: str) -> Platform:
    """Choose a platform by the image's CUDA version.

    If the version is None, the first platform is chosen. If it is empty (no CUDA), the first platform without CUDA is
    chosen. Otherwise the platform with the highest CUDA version that is not newer than the image's is chosen.
    """
    if cuda is None or len(platforms) == 1:
        return platforms[0]
    if not cuda:
        fitting = [one for one in platforms if not one.cuda]
    else:
        fitting = [one for one in platforms if one.cuda and at_most(one.cuda, cuda)]
        best = highest(one.cuda for one in fitting)
        fitting = [one for one in fitting if same_version(one.cuda, best)]
    if not fitting:
        requirement = f"CUDA {cuda}" if cuda else "no CUDA"
        raise EnvironmentFileError(
            f"{file}: no platform of the environment {environment!r} fits {requirement}: it supports "
            f"{', '.join(map(_described, platforms))}; set the image's 'cuda' to one of these, or set one as its 'platform'"
        )
    return fitting[0]


def _check_cuda(platform: Platform, cuda: str | None, file: str) -> None:
    """Reject an image's CUDA version that is empty or older than the platform's: pixi would not install the platform."""
    if cuda is None or not platform.cuda or (cuda and at_most(platform.cuda, cuda)):
        return
    raise EnvironmentFileError(
        f"{file}: the image's 'platform' is {_described(platform)}, but its 'cuda', or CUDA_VERSION, requires "
        f"{f'CUDA {cuda}' if cuda else 'no CUDA'}; remove one of these settings, or use a platform that fits"
    )


def _mismatch(
    workspace: Workspace, environment: Environment, lock: LockFile, rows: Sequence[Row], missing: Sequence[Platform]
) -> EnvironmentFileError:
    """Return the error for platforms of the manifest that the lock file lacks."""
    return EnvironmentFileError(
        f"{lock.file} does not match {workspace.file}: the environment {environment.name!r} has the platform "
        f"{', '.join(map(_described, missing))} in {workspace.file}, but is locked for "
        f"{', '.join(row.shown for row in rows)}; "
        "run 'pixi lock' and commit pixi.lock"
    )


def _described(platform: Platform) -> str:
    return f"{platform.name} ({f'CUDA {platform.cuda}' if platform.cuda else 'no CUDA'})"
