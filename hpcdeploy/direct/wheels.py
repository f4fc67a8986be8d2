"""Install locked wheels from an index into an environment: download, check the checksum, and unpack."""

import fcntl
import hashlib
import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.frozen import frozen
from hpcdeploy.whole_file import sha256_of

LARGEST_WHEEL = 20 * 10**9
"""Maximum size of a wheel in bytes."""

_BLOCK = 1 << 20
_TIMEOUT = (30, 300)
"""Maximum time in seconds for a connection, and for the next bytes."""


@frozen
class Wheel:
    """A locked wheel: the package's name, the URL without a fragment, and the sha256 in hex digits."""

    name: str
    url: str
    sha256: str

    @property
    def file(self) -> str:
        """The file name, which has the tags of the wheel."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


def refusal(wheel: Wheel) -> str:
    """Return the reason why a locked PyPI package cannot be installed without a build; empty if it can."""
    if not wheel.file.endswith(".whl"):
        return f"{wheel.name} is not a wheel ({wheel.file or wheel.url}) and must be built from source"
    if len(wheel.sha256) != 64:
        return f"{wheel.name} has no sha256 in the lock file"
    return ""


def fetch(wheel: Wheel, folder: Path) -> Path:
    """Return the file of a wheel in `folder`, which may have it from an earlier build.

    Raises:
        BuildError: The wheel cannot be downloaded, is too large, or has another sha256.
        OSError: The file cannot be written.
    """
    target = folder / wheel.sha256 / wheel.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another build may download the same wheel
        if not target.is_file() or sha256_of(target) != wheel.sha256:
            _download(wheel, target)
    return target


def _download(wheel: Wheel, target: Path) -> None:
    import requests

    part = target.with_name(f".{wheel.file}.part")
    found, size = hashlib.sha256(), 0
    try:
        with requests.get(wheel.url, stream=True, timeout=_TIMEOUT) as response, part.open("wb") as out:
            response.raise_for_status()
            for block in response.iter_content(_BLOCK):
                size += len(block)
                if size > LARGEST_WHEEL:
                    raise BuildError(f"{wheel.file} has more than {LARGEST_WHEEL} bytes, which is the maximum")
                found.update(block)
                out.write(block)
        if found.hexdigest() != wheel.sha256:
            raise BuildError(
                f"Hash mismatch for {wheel.name}: the lock file has sha256:{wheel.sha256}, but the downloaded {wheel.file} "
                f"has sha256:{found.hexdigest()}; run 'pixi update {wheel.name}' if the index replaced it"
            )
        part.replace(target)
    except requests.RequestException as error:
        raise BuildError(f"{wheel.name} cannot be downloaded from {urlsplit(wheel.url).hostname}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def install(wheels: Sequence[Path], prefix: Path, python: str, interpreter: str) -> None:
    """Install wheels into the environment at `prefix`.

    Args:
        wheels: The files of the wheels.
        prefix: The folder of the environment.
        python: The version of its Python, such as ``3.13``, with a ``t`` for one without the global lock.
        interpreter: The path of Python that installed scripts start.

    Raises:
        BuildError: A wheel is invalid.
        MissingProgramError: The library installer is not installed.
    """
    try:
        import installer
        from installer.destinations import SchemeDictionaryDestination
        from installer.exceptions import InstallerError
        from installer.sources import WheelFile
    except ImportError as error:
        raise MissingProgramError(
            "installing PyPI packages without pixi needs the library installer: pip install 'hpcdeploy[direct]'"
        ) from error
    values = {"base": str(prefix), "platbase": str(prefix)}
    scheme = sysconfig.get_paths("posix_prefix", values)
    site = str(prefix / "lib" / f"python{python}" / "site-packages")
    scheme |= {"purelib": site, "platlib": site, "headers": str(prefix / "include" / "site" / f"python{python}")}

    class Destination(SchemeDictionaryDestination):
        def write_to_fs(self, scheme: Any, path: str, stream: BinaryIO, is_executable: bool) -> Any:  # noqa: ANN401, FBT001
            # The existing file of a conda package may be a hard link into the package cache, which must not be changed.
            if ".." not in PurePosixPath(path).parts and not PurePosixPath(path).is_absolute():  # the library refuses these
                (Path(self.scheme_dict[scheme]) / path).unlink(missing_ok=True)
            return super().write_to_fs(scheme, path, stream, is_executable)

    _refuse_links_out(prefix)
    for path in wheels:
        destination = Destination(scheme, interpreter=interpreter, script_kind="posix")
        try:
            with WheelFile.open(path) as source:
                installer.install(source, destination, {"INSTALLER": b"hpcdeploy"})
        except (InstallerError, ValueError, KeyError, OSError) as error:
            raise BuildError(f"{path.name} cannot be installed: {error}") from error


def _refuse_links_out(prefix: Path) -> None:
    """Raise `BuildError` if a folder of the environment is a link out of it, because a wheel would be written there."""
    root = prefix.resolve()
    for parent, folders, _ in os.walk(prefix):
        for name in folders:
            path = Path(parent) / name
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise BuildError(
                    f"{path.relative_to(prefix)} in the environment is a link out of it; wheels cannot be installed"
                )
