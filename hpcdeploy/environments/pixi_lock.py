"""Parse a Pixi workspace's lock file, versions 5, 6 and 7, into plain values.

- Version 5 has fields for the name and version of each package.
- From version 6 on, the name and version of a conda package are in its file name.
- Version 7 adds a table of platforms with the virtual packages for which the packages were solved.

In that table Pixi writes aliases such as ``p1`` instead of the manifest's names (prefix-dev/pixi 0.77,
``crates/pixi_core/src/lock_file/platform_rename.rs``). So messages describe a `Row` by its virtual packages.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.environments.pixi_platform import LINUX, Platform, described, other_platform, promise
from hpcdeploy.environments.yaml_text import YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import nearest

VERSIONS = (5, 6, 7)
Kind = Literal["conda", "pypi", "source"]
_KINDS: Mapping[str, Kind] = {
    "conda": "conda", "pypi": "pypi", "conda_source": "source", "source": "source",
}  # fmt: skip


@frozen
class Package:
    """A locked package.

    Attributes:
        kind: ``conda``, ``pypi``, or ``source`` for a conda package that is built from source.
        name: The package's name.
        version: The package's version; empty if the lock file has none.
        url: The package's URL without credentials; for a local package, its path relative to the manifest.
        size: The package's size in bytes; 0 if unknown.
        sha256: The package's checksum of 64 hex digits; empty if unknown.
        editable: Whether the package is installed as editable. Only lock files of older releases of pixi have this value;
            since 2026 only the manifest has it (prefix-dev/pixi#5106, #5249).
    """

    kind: Kind
    name: str
    version: str
    url: str
    size: int = 0
    sha256: str = ""
    editable: bool = False

    @property
    def is_local(self) -> bool:
        """Tell whether the package is on this machine instead of in a channel, an index or a repository."""
        return "://" not in self.url or self.url.startswith("file:")


@frozen
class Row:
    """A platform of a locked environment.

    Attributes:
        key: The lock file's name for it, which may be an alias.
        subdir: The conda subfolder.
        listed: The virtual packages that the solve assumed, by conda's names; None if the lock file does not list them.
    """

    key: str
    subdir: str
    listed: Mapping[str, str] | None = None

    @property
    def platform(self) -> Platform:
        """The platform as far as the lock file describes it."""
        bare = Platform(name=self.key, subdir=self.subdir)
        return bare if self.listed is None else promise(bare, self.listed)

    @property
    def shown(self) -> str:
        """A description of the platform, without the alias."""
        return self.key if self.key == self.subdir else described(self.platform)


@frozen
class LockedEnvironment:
    """The content of one environment on one platform.

    Attributes:
        name: The environment's name.
        channels: The channels' URLs without credentials.
        packages: The packages.
        cuda: The CUDA version that the solve assumed (from version 7 on).
        glibc: The glibc version that the solve assumed (from version 7 on).
        elsewhere: Local packages that only other environments or platforms use. Pixi needs them to check the lock file.
    """

    name: str
    channels: tuple[str, ...]
    packages: tuple[Package, ...]
    cuda: str = ""
    glibc: str = ""
    elsewhere: tuple[Package, ...] = ()


@frozen
class LockFile:
    """A parsed lock file.

    Attributes:
        file: The lock file's name, for messages.
        version: The version of the lock file's format, one of `VERSIONS`.
        top: The lock file's content.
    """

    file: str
    version: int
    top: Mapping[str, object]

    @property
    def environments(self) -> tuple[str, ...]:
        """The names of the locked environments."""
        return tuple(_named(self.top.get("environments"), f"{self.file}: environments"))

    def rows(self, environment: str, subdir: str = "") -> tuple[Row, ...]:
        """Return the platforms for which `environment` is locked; `subdir` limits them to one conda subfolder.

        For an environment without packages a lock file lists no platform, so the result is `subdir`, or ``linux-64``.

        Raises:
            EnvironmentFileError: The lock file has no such environment, or is malformed.
        """
        key = f"{self.file}: environments.{environment}.packages"
        listed = _tables(self.top.get("platforms"), f"{self.file}: platforms")
        entries = {str(entry.get("name")): entry for entry in listed}
        names = _named(self._environment(environment).get("packages"), key) or (subdir or LINUX,)
        rows = (_row(name, entries.get(name, {}), f"{self.file}: platforms") for name in names)
        return tuple(row for row in rows if not subdir or row.subdir == subdir)

    def read(self, environment: str, row: Row) -> LockedEnvironment:
        """Return the content of `environment` on the platform `row`.

        Raises:
            EnvironmentFileError: The lock file has no such environment, or is malformed.
        """
        locked, key = self._environment(environment), f"{self.file}: environments.{environment}"
        where, here = f"{self.file}: packages", f"{key}.packages"
        details = {_address(entry, where): entry for entry in _tables(self.top.get("packages"), where)}
        held = [_address(entry, key) for entry in _tables(_named(locked.get("packages"), here).get(row.key), here)]
        known = frozenset(held)
        others = (
            _package(address, details, where) for address in details if "://" not in address[1] and address not in known
        )
        channels = _tables(locked.get("channels"), f"{key}.channels")
        return LockedEnvironment(
            name=environment,
            channels=tuple(without_credentials(str(channel.get("url", ""))) for channel in channels),
            packages=tuple(_package(address, details, here) for address in held),
            cuda=row.platform.cuda,
            glibc=row.platform.glibc,
            elsewhere=tuple(package for package in others if package.is_local),
        )

    def _environment(self, name: str) -> Mapping[str, object]:
        environments = _named(self.top.get("environments"), f"{self.file}: environments")
        if name not in environments:
            raise EnvironmentFileError(
                f"{self.file} has no environment {name!r}: if the manifest has it, run 'pixi lock'; "
                f"{nearest(name, self.environments)}"
            )
        return _table(environments[name], f"{self.file}: environments.{name}")


def read_lock(text: str, file: str = "pixi.lock") -> LockFile:
    """Parse a lock file.

    Raises:
        EnvironmentFileError: The lock file is malformed, or its version is not supported.
    """
    return lock_file_of(read_lock_table(text, file), file)


def read_lock_table(text: str, file: str) -> Mapping[str, object]:
    """Return the content of a lock file as a table.

    Raises:
        EnvironmentFileError: The lock file is not valid YAML, exceeds a limit of `load_yaml`, or is not a table.
    """
    try:
        top = load_yaml(text)
    except YamlError as error:
        if error.line:
            line = f"{file}, line {error.line}"
            raise EnvironmentFileError(f"{line}: not valid YAML: {error}; run 'pixi lock' to renew it") from error
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; run 'pixi lock' to renew it") from error
    return _table(top, file)


def lock_file_of(top: Mapping[str, object], file: str) -> LockFile:
    """Make a lock file from the table of `read_lock_table`.

    Raises:
        EnvironmentFileError: The lock file's version is not supported.
    """
    version = top.get("version")
    if not isinstance(version, int) or version not in VERSIONS:
        raise EnvironmentFileError(_unknown_version(version, file))
    return LockFile(file=file, version=version, top=top)


def read_locked(text: str, environment: str, *, file: str = "pixi.lock", subdir: str = LINUX) -> LockedEnvironment:
    """Return the content of `environment` on the conda platform `subdir` (the first, if there are several).

    Raises:
        EnvironmentFileError: The lock file is malformed, its version is not supported, or the environment or platform is not
            locked.
    """
    lock = read_lock(text, file)
    rows = lock.rows(environment, subdir)
    if not rows:
        raise not_locked(lock, environment, subdir)
    return lock.read(environment, rows[0])


def not_locked(lock: LockFile, environment: str, subdir: str = LINUX) -> EnvironmentFileError:
    """Return the error for an environment that is not locked for a conda platform."""
    rows = lock.rows(environment)
    found = ", ".join(row.shown for row in rows)
    return EnvironmentFileError(
        f"{lock.file}: environments.{environment} is not locked for {subdir}, which the image needs "
        f"(locked: {found or 'nothing'}); add {subdir!r} to the workspace's platforms and run 'pixi lock'"
        f"{other_platform(subdir, (row.platform for row in rows))}"
    )


def _row(key: str, entry: Mapping[str, object], where: str) -> Row:
    subdir, listed = str(entry.get("subdir") or key), entry.get("virtual-packages")
    if not listed:
        return Row(key=key, subdir=subdir)
    if not isinstance(listed, list):
        raise EnvironmentFileError(f"{where}: {key} lists {str(listed)[:60]!r}; expected a list; run 'pixi lock'")
    pairs = (str(item).partition("=") for item in listed)
    return Row(key=key, subdir=subdir, listed={name: version for name, _, version in pairs})


def _unknown_version(version: object, file: str) -> str:
    if isinstance(version, int) and version > VERSIONS[-1]:
        return (
            f"{file} has version {version}, but this hpcdeploy only reads versions up to {VERSIONS[-1]}; "
            "upgrade hpcdeploy, or write the lock file with an older pixi"
        )
    return f"{file} has version {version!r}; expected {', '.join(map(str, VERSIONS))}; run 'pixi lock' to renew it"


def _address(entry: Mapping[str, object], key: str) -> tuple[Kind, str]:
    """Return the kind of a package, and its URL or path. Together they identify the package in the lock file.

    Raises:
        EnvironmentFileError: The entry has an unknown kind.
    """
    for word, kind in _KINDS.items():
        if word in entry:
            return kind, str(entry[word])
    if "kind" in entry:  # version 5
        address = entry.get("url", entry.get("path", entry.get("name")))
        return _KINDS.get(str(entry["kind"]), "conda"), str(address)
    raise EnvironmentFileError(
        f"{key} has an entry of an unknown kind, with the keys {', '.join(map(str, entry))}; run 'pixi lock'"
    )


def _package(address: tuple[Kind, str], details: Mapping[tuple[Kind, str], Mapping[str, object]], key: str) -> Package:
    if address not in details:
        raise EnvironmentFileError(
            f"{key} refers to {without_credentials(address[1])}, which is not in 'packages'; run 'pixi lock' to renew it"
        )
    kind, url = address
    entry = details[address]
    name, version = _from_file_name(url) if kind == "conda" else ("", "")
    size = entry.get("size")
    return Package(
        kind=kind,
        name=without_credentials(str(entry.get("name") or name or url.partition("[")[0])),
        version=str(entry.get("version") or version),
        url=without_credentials(url if kind != "source" else url.partition(" @ ")[2] or url),
        size=size if isinstance(size, int) else 0,
        sha256=str(entry.get("sha256") or ""),
        editable=entry.get("editable") is True,
    )


def _from_file_name(url: str) -> tuple[str, str]:
    """Return name and version from ``name-version-build.conda``; version and build contain no hyphen in conda."""
    stem = re.sub(r"\.(conda|tar\.bz2)$", "", unquote(urlsplit(url).path).rpartition("/")[2])
    parts = stem.rsplit("-", 2)
    return (parts[0], parts[1]) if len(parts) == 3 else (stem, "")


def _shown(value: object) -> str:
    return without_credentials(str(value)[:1000])[:60]


def _table(value: object, key: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {_shown(value)!r}; expected a table; run 'pixi lock' to renew it")
    return cast("Mapping[str, object]", value)


def _named(value: object, key: str) -> Mapping[str, object]:
    """Return a table with its keys as text, because YAML reads a name such as ``312`` as a number."""
    return {str(name): content for name, content in _table(value, key).items()}


def _tables(value: object, key: str) -> list[Mapping[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {_shown(value)!r}; expected a list; run 'pixi lock' to renew it")
    return [_table(item, key) for item in value]
