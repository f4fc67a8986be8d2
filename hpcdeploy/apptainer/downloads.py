"""Keep what package managers download from one build to the next, outside of the image.

During a build, a private folder is mounted below ``/tmp``, and variables name its subfolders to the package managers. This
needs no line in the definition, and no folder in the image: Apptainer mounts the host's ``/tmp`` into a build ("mount tmp"
in apptainer.conf), so the mount point is a folder of the host. A variable ``APPTAINERENV_NAME`` becomes ``NAME`` in
``%post``, and is not stored in the image (seen with 1.4.5). ``login/keep_downloads.sh`` does the same on a login node.
"""

import fcntl
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcdeploy.apptainer.secret_pipes import escaped
from hpcdeploy.private import own_folder
from hpcdeploy.whole_file import remove_parts, write_whole

ABOUT = "about.json"
"""The file in a folder of downloads that names the project and the image."""

FILES = "files"
"""The subfolder of a folder of downloads that has the downloads."""

PLACE = "HPCDEPLOY_DOWNLOADS"
"""The variable that contains the mount point of the folder. The definitions of Spack environments use it."""

_MOUNTED = "mounted"
"""The file with the path of the mount point, so that the next build removes what an interrupted one left."""

_PLACES = re.compile(r"/tmp/hpcdeploy-[A-Za-z0-9_]+")  # noqa: S108 - the name of `tempfile.mkdtemp`

_VARIABLES = {"RATTLER_CACHE_DIR": "conda", "PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv"}
"""Variables that name a cache: of Pixi's packages from conda and PyPI (rattler), of pip, and of uv."""

_APT = """Dir::Cache::archives "{place}/apt/";
APT::Keep-Downloaded-Packages "true";
Binary::apt::APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
"""
"""Apt's configuration. Apt verifies the checksums of kept packages.

With the usual sandbox, apt gives a subfolder to the user ``_apt``, which is a subordinate user id outside of the build; then
the user could not remove the folder.
"""

_FORBIDDEN = re.compile(r"^[ \t]*(mount tmp|user bind control)[ \t]*=[ \t]*no[ \t]*$", re.IGNORECASE | re.MULTILINE)
"""Lines of apptainer.conf without which a build cannot use the folder."""

Mount = tuple[tuple[str, ...], dict[str, str], str]
"""Options of ``apptainer build``, variables without the prefix ``APPTAINERENV_``, and a note."""


@contextmanager
def keeping(
    folder: Path | None, program: str, about: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], dict[str, str], str]]:
    """Mount `folder` into a build during the block.

    Yields the options of ``apptainer build``, the variables for the build without the prefix ``APPTAINERENV_``, and a note
    if downloads are not kept.

    Args:
        folder: The private folder of the downloads; None to keep none.
        program: The path of the Apptainer program.
        about: The project and the image, which `cache list` shows.
    """
    if folder is None:
        yield (), {}, ""
        return
    if forbidden := _forbidden(program):
        yield (), {}, f"downloads are not kept: this machine's Apptainer has '{forbidden} = no'"
        return
    own_folder(folder)
    with (folder / "lock").open("a") as lock:
        # Apptainer keeps the lock even if this process is killed.
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003 - it has no keyword
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield (), {}, "kept downloads are not used, because another build of this image uses them"
            return
        _remove_place(folder)
        place = Path(tempfile.mkdtemp(prefix="hpcdeploy-", dir="/tmp"))
        try:
            for name in (ABOUT, _MOUNTED, f"{FILES}/apt.conf"):
                remove_parts(folder / name)
            write_whole(folder / _MOUNTED, str(place))
            (folder / FILES / "apt" / "partial").mkdir(parents=True, exist_ok=True)
            write_whole(folder / ABOUT, json.dumps(dict(about)))
            write_whole(folder / FILES / "apt.conf", _APT.format(place=place))
            names = {name: f"{place}/{inner}" for name, inner in _VARIABLES.items()}
            variables = {PLACE: str(place), "APT_CONFIG": f"{place}/apt.conf", **names}
            yield ("--bind", f"{escaped(folder.absolute() / 'files')}:{place}"), variables, ""
        finally:
            with suppress(OSError):
                place.rmdir()
                (folder / _MOUNTED).unlink(missing_ok=True)


def _remove_place(folder: Path) -> None:
    """Remove the empty mount point that an interrupted build left."""
    with suppress(OSError, UnicodeDecodeError):
        place = (folder / _MOUNTED).read_text()
        if _PLACES.fullmatch(place):
            Path(place).rmdir()


def _forbidden(program: str) -> str:
    """Return the setting of apptainer.conf that forbids the mount; empty if there is none, or if it cannot be read."""
    for name in ("APPTAINER_CONF_FILE", "SINGULARITY_CONF_FILE"):
        with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
            done = subprocess.run(
                [program, "buildcfg", name],
                capture_output=True,
                text=True,
                check=True,
                stdin=subprocess.DEVNULL,
                timeout=10,
                env={"PATH": os.environ.get("PATH", os.defpath)},  # without variables that contain secrets of the build
            )
            found = _FORBIDDEN.search(Path(done.stdout.strip().rpartition("=")[2]).read_text())
            return found[1].lower() if found else ""
    return ""
