"""Read the lock file with py-rattler, and compare it with the manifest for ``--locked``."""

import hashlib
from dataclasses import dataclass

from rattler import RepoDataRecord
from rattler.exceptions import ParseCondaLockError
from rattler.lock import CondaLockedBinaryPackage, LockFile, PypiLockedPackage
from rattler.lock import Environment as LockedByRattler
from rattler.lock.platform import LockPlatform

from hpcdeploy_lab.pixi_standin import RefusedError, StandInError
from hpcdeploy_lab.pixi_standin.platforms import Platform, key_of
from hpcdeploy_lab.pixi_standin.workspace import Environment, Workspace

_INSTALLED = (CondaLockedBinaryPackage, PypiLockedPackage)


@dataclass(frozen=True, kw_only=True)
class PythonPackage:
    """A locked Python package.

    ``location`` is a URL, or a path in the workspace. ``sha256`` is empty if the lock file has no checksum.
    """

    name: str
    version: str
    location: str
    sha256: str
    editable: bool = False


@dataclass(frozen=True, kw_only=True)
class Locked:
    """The locked packages of one environment on its platform.

    ``others`` are the names of conda packages that would have to be built from source.
    """

    records: tuple[RepoDataRecord, ...]
    python: tuple[PythonPackage, ...]
    others: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return a sha256 over the addresses and checksums of all packages, which identifies the content."""
        lines = sorted(f"{record.url} {(record.sha256 or b'').hex()}" for record in self.records)
        python = sorted(f"{package.location} {package.sha256} {package.editable}" for package in self.python)
        return hashlib.sha256("\n".join((*lines, *python, *self.others)).encode()).hexdigest()


def read_lock(workspace: Workspace) -> LockFile:
    """Read the lock file (versions 5, 6 and 7).

    Raises:
        StandInError: The lock file is missing or malformed.
    """
    if not workspace.lock.is_file():
        raise StandInError(f"there is no lock file at {workspace.lock}; run 'pixi lock' with the real pixi and commit it")
    try:
        return LockFile.from_path(workspace.lock)
    except (ParseCondaLockError, OSError) as error:
        raise StandInError(f"Failed to load lock file from `{workspace.lock}`: {error}") from error


def locked(workspace: Workspace, lock: LockFile, name: str) -> Locked:
    """Return the locked packages of the environment `name` on its platform.

    Raises:
        StandInError: The manifest or the lock file lacks the environment, or the lock file lacks its platform.
    """
    found, wanted = lock.environment(name), workspace.environment(name).platform
    platform = None if found is None or wanted is None else _locked_platform(found, wanted)
    if found is None or platform is None:
        raise StandInError(f"{workspace.lock} does not contain the environment '{name}' for linux-64")
    packages = found.packages(platform) or []
    editable = {_normal(item) for item in workspace.environment(name).editable}
    return Locked(
        records=tuple(package.repo_data_record() for package in packages if isinstance(package, CondaLockedBinaryPackage)),
        python=tuple(_python(package, editable) for package in packages if isinstance(package, PypiLockedPackage)),
        others=tuple(package.name for package in packages if not isinstance(package, _INSTALLED)),
    )


def _python(package: PypiLockedPackage, editable: set[str]) -> PythonPackage:
    try:
        sha256 = (package.hashes.sha256 or b"").hex() if package.hashes else ""
    except AttributeError:  # py-rattler 0.28, if the lock file has no hashes
        sha256 = ""
    return PythonPackage(
        name=package.name,
        version=str(package.version),
        location=str(package.location),
        sha256=sha256,
        editable=_normal(package.name) in editable,
    )


def refuse_others(content: Locked) -> None:
    """Raise an error if conda packages would have to be built.

    Raises:
        RefusedError: At least one conda package would have to be built from source.
    """
    if content.others:
        names = ", ".join(sorted(content.others)[:5])
        raise RefusedError(f"{len(content.others)} locked packages are built from source ({names})")


def check(workspace: Workspace, lock: LockFile) -> None:
    """Check that the lock file fits the manifest.

    This compares the channels and platforms of each environment. For each platform it checks that the lock file has every
    dependency of a locked package; for the platform in use also every direct dependency. Unlike pixi, it does not detect
    packages that are no longer needed.

    Raises:
        StandInError: The lock file does not fit the manifest; the message begins like pixi's.
    """
    for environment in workspace.environments.values():
        reason = _mismatch(environment, lock.environment(environment.name))
        if reason:
            raise StandInError(f"lock-file not up-to-date with the workspace\n  environment '{environment.name}': {reason}")


def _mismatch(environment: Environment, found: LockedByRattler | None) -> str:
    if found is None:
        return "not in the lock file"
    channels = tuple(str(channel).rstrip("/") for channel in found.channels())
    if channels != environment.channels:
        return f"the channels are {', '.join(environment.channels)}, locked are {', '.join(channels)}"
    for declared in environment.declared:
        name, platform = declared.name, _locked_platform(found, declared)
        if platform is None:
            return f"not locked for the platform {name}"
        packages = found.packages(platform) or []
        conda = [package for package in packages if isinstance(package, CondaLockedBinaryPackage)]
        if declared == environment.platform:  # the stand-in reads [target] tables only for this platform
            for spec in environment.dependencies.values():
                if not any(package.satisfies(spec) for package in conda):
                    return f"nothing locked for {name} satisfies the dependency '{spec}'"
            pypi = {package.name for package in packages if isinstance(package, PypiLockedPackage)}
            for wanted in environment.pypi:
                if _normal(wanted) not in {_normal(package) for package in pypi}:
                    return f"nothing locked for {name} satisfies the PyPI dependency '{wanted}'"
        for package in conda:
            for spec in package.repo_data_record().depends:
                if not spec.startswith("__") and not any(other.satisfies(spec) for other in conda):
                    return f"nothing locked for {name} satisfies '{spec}', which {package.name} needs"
    return ""


def _locked_platform(found: LockedByRattler, platform: Platform) -> LockPlatform | None:
    locked = {one.name: one for one in found.platforms()}
    key = key_of(platform, {name: (str(one.subdir), one.virtual_packages) for name, one in locked.items()})
    return None if key is None else locked[key]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def virtual_specs(content: Locked, platform: Platform | None) -> dict[str, str]:
    """Return the specs of virtual packages that an environment requires, each with its origin: the manifest or a package."""
    promised = {name: version for name, version in (platform.promises if platform else {}).items() if "=" not in version}
    specs = {f"{name} >={version}": "the manifest" for name, version in promised.items()}
    for record in content.records:
        for spec in record.depends:
            if spec.startswith("__"):
                specs.setdefault(spec, record.name.normalized)
    return specs
