"""Install locked PyPI packages, and Python packages from the workspace's own folders, if they are pure Python.

Pixi installs these packages with uv and with each package's own build backend. The stand-in verifies the checksum of a wheel
and unpacks it. It copies a folder to the path where a build backend would install pure Python. It rejects other packages.
The lab's channel has no interpreter, so the environment gets a link to the stand-in's own interpreter, as in a venv.
"""

import configparser
import hashlib
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import tomli

from hpcdeploy_lab.pixi_standin import RefusedError, StandInError
from hpcdeploy_lab.pixi_standin.locking import PythonPackage
from hpcdeploy_lab.pixi_standin.machine import mirrored

INSTALLER = "pixi-standin"
_SCRIPT = """#!{python}
import sys

from {module} import {first}

sys.exit({call}())
"""


def locate(
    packages: Iterable[PythonPackage], root: Path, table: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[PythonPackage, Path], ...]:
    """Return the file or folder of each package, with its checksum verified.

    Args:
        packages: The locked packages.
        root: The workspace's folder.
        table: The addresses of mirrors, by the address that they replace.

    Raises:
        StandInError: A file is missing, or has a wrong checksum.
        RefusedError: A package has a URL for which `table` has no ``file://`` mirror.
    """
    return tuple((package, _place(package, root, table)) for package in packages)


def install_python_packages(located: Iterable[tuple[PythonPackage, Path]], prefix: Path) -> None:
    """Install these Python packages in the environment at `prefix`; first remove those that the stand-in installed before.

    Raises:
        RefusedError: A package is not pure Python.
    """
    wanted = tuple(located)
    site = prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    _remove_old(site)
    if wanted:
        _link_interpreter(prefix, site)
    for package, place in wanted:
        if place.is_dir():
            written = _install_folder(package, place, site, prefix)
        else:
            written = _install_wheel(package, place, site, prefix)
        [info] = {path.parent for path in written if path.name == "METADATA"}
        (info / "INSTALLER").write_text(f"{INSTALLER}\n")
        listed = "".join(f"{os.path.relpath(path, site)},,\n" for path in (*written, info / "INSTALLER", info / "RECORD"))
        (info / "RECORD").write_text(listed)


def _link_interpreter(prefix: Path, site: Path) -> None:
    if (prefix / "bin" / "python").exists():
        return
    python = Path(getattr(sys, "_base_executable", sys.executable))
    site.mkdir(parents=True, exist_ok=True)
    (prefix / "bin").mkdir(exist_ok=True)
    (prefix / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(python)


def _remove_old(site: Path) -> None:
    for installer in site.glob("*.dist-info/INSTALLER"):
        if installer.read_text().strip() == INSTALLER:
            for line in (installer.parent / "RECORD").read_text().splitlines():
                (site / line.split(",")[0]).unlink(missing_ok=True)


def _place(package: PythonPackage, root: Path, table: Mapping[str, tuple[str, ...]]) -> Path:
    if "://" not in package.location:
        path = root / package.location
        if not path.exists():
            raise StandInError(f"the source of '{package.name}' is not at {path}")
        if path.is_dir():
            return path
    else:
        places = [place for place in mirrored(package.location, table) if place.startswith("file://")]
        if not places:
            raise RefusedError(f"'{package.name}' comes from {package.location}, for which [mirrors] has no folder")
        path = Path(unquote(urlsplit(places[0]).path))
        if not path.is_file():
            raise StandInError(f"{path.name} is not in the mirror of its index: {places[0]}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise StandInError(
            f"Hash mismatch for `{package.name}`: expected sha256:{package.sha256 or '(none)'}, computed sha256:{found}"
        )
    return path


def _install_wheel(package: PythonPackage, wheel: Path, site: Path, prefix: Path) -> list[Path]:
    if wheel.suffix != ".whl":
        raise RefusedError(f"'{package.name}' is not a wheel ({wheel.name}) and would have to be built")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/RECORD"))]
        if any(".data/" in name for name in names):
            raise RefusedError(f"{wheel.name} contains more than a pure Python package (a .data folder)")
        written = [Path(archive.extract(name, site)) for name in names]
    scripts = [line for path in written if path.name == "entry_points.txt" for line in _scripts(path.read_text())]
    return [*written, *(_write_script(prefix, *script) for script in scripts)]


def _install_folder(package: PythonPackage, folder: Path, site: Path, prefix: Path) -> list[Path]:
    try:
        project = tomli.loads((folder / "pyproject.toml").read_text())["project"]
    except (OSError, ValueError, KeyError) as error:
        raise RefusedError(f"'{package.name}' has no [project] table in {folder / 'pyproject.toml'}") from error
    name, version = str(project["name"]), str(project.get("version", "0"))
    source = folder / "src" if (folder / "src").is_dir() else folder
    module = name.replace("-", "_")
    found = next((path for path in (source / module, source / f"{module}.py") if path.exists()), None)
    if found is None:
        raise RefusedError(
            f"'{package.name}' is not a pure Python package: {source} contains neither {module}/ nor {module}.py"
        )
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if package.editable:
        written = [site / f"_{module}.pth"]
        written[0].write_text(f"{source}\n")
    elif found.is_dir():
        shutil.copytree(found, site / module, ignore=shutil.ignore_patterns("__pycache__"))
        written = [path for path in (site / module).rglob("*") if path.is_file()]
    else:
        written = [Path(shutil.copy(found, site / found.name))]
    scripts = project.get("scripts", {}).items()
    return [*written, info / "METADATA", *(_write_script(prefix, *script) for script in scripts)]


def _scripts(entry_points: str) -> Iterable[tuple[str, str]]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(entry_points)
    return parser.items("console_scripts") if parser.has_section("console_scripts") else ()


def _write_script(prefix: Path, name: str, target: str) -> Path:
    module, _, call = target.partition(":")
    path = prefix / "bin" / name
    python = prefix / "bin" / "python"
    path.write_text(_SCRIPT.format(python=python, module=module, first=call.split(".")[0], call=call))
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path
