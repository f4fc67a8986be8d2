"""Install a locked Pixi environment into a folder of this machine, with pixi or with py-rattler."""

import asyncio
import contextlib
import importlib.metadata
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.direct import wheels
from hpcdeploy.direct.activation import pixi_hook, read_json_of
from hpcdeploy.direct.wheels import Wheel
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import interrupts_held

if TYPE_CHECKING:
    from rattler import RepoDataRecord

_KEPT_OUTPUT = 4000
_IGNORED = {".gitignore": "*\n", ".condapackageignore": "*\n"}
LONGEST_PREFIX = 100
"""Maximum length in bytes of the folder of an environment. rattler replaces the first line of a script with a longer path by
``#!/usr/bin/env``, because Linux reads 127 bytes of it."""


@frozen
class Workspace:
    """A Pixi workspace and the environment to install.

    Attributes:
        folder: The folder with the copied workspace, which becomes ``/app`` in the image.
        manifest: The file name of the manifest.
        name: The workspace's name; empty if it has none.
        version: The workspace's version; empty if it has none.
        environment: The environment's name.
        platform: The manifest's name of the platform for pixi; empty for its own choice.
        row: The lock file's name of the platform.
        platforms: The manifest's names of all platforms of the environment.
        variables: Variables that make pixi assume the virtual packages of the platform.
        scripts: The workspace's activation scripts, relative to `folder`.
        activation: The variables of ``[activation.env]``.
        wheels: The locked PyPI packages.
    """

    folder: Path
    manifest: str
    name: str
    version: str
    environment: str
    platform: str
    row: str
    platforms: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    scripts: tuple[str, ...]
    activation: tuple[tuple[str, str], ...]
    wheels: tuple[Wheel, ...]

    @property
    def prefix(self) -> Path:
        """The folder of the environment."""
        return self.folder / ".pixi" / "envs" / self.environment


def installer() -> tuple[tuple[str, str], ...]:
    """Return the name and version of the program or library that `install` uses; nothing if there is none."""
    if pixi := shutil.which("pixi"):
        return (("pixi", _run([pixi, "--version"], Path("/"), os.environ).strip().removeprefix("pixi ")),)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return (("py-rattler", importlib.metadata.version("py-rattler")),)
    return ()


def install(workspace: Workspace, cache: Path, path: str) -> str:
    """Install the environment.

    Args:
        workspace: The workspace.
        cache: The folder for downloads that later builds use again.
        path: The value of PATH in the image.

    Returns:
        The script that activates the environment, with paths of this machine.

    Raises:
        BuildError: A package is missing, damaged, or cannot be installed.
        MissingProgramError: There is neither pixi nor py-rattler.
    """
    if len(os.fsencode(workspace.prefix)) > LONGEST_PREFIX:
        raise BuildError(
            f"the build's folder is too long: {workspace.prefix} has more than {LONGEST_PREFIX} bytes; set "
            "XDG_CACHE_HOME to a shorter path"
        )
    pixi = shutil.which("pixi")
    done = _with_pixi(workspace, pixi, path) if pixi else _with_rattler(workspace, cache, path)
    for name, content in _IGNORED.items():  # if they did not exist, 'pixi run' in a container would try to write them
        file = workspace.folder / ".pixi" / name
        if not file.exists():
            file.write_text(content)
    return done


def _with_pixi(workspace: Workspace, pixi: str, path: str) -> str:
    words = ["--environment", workspace.environment]
    environment = {**os.environ, **dict(workspace.variables), "PYTHONNOUSERSITE": "1"}
    for name in ("PIXI_PROJECT_MANIFEST", "PIXI_IN_SHELL", "PIXI_PROJECT_ROOT", "CONDA_PREFIX"):
        environment.pop(name, None)  # pixi would use the workspace in which hpcdeploy itself runs
    _keep_inside(workspace.folder / ".pixi" / "config.toml")
    platform = ["--platform", workspace.platform] if workspace.platform else []
    _run([pixi, "install", "--locked", *words, *platform], workspace.folder, environment)
    as_is = ["--as-is"] if workspace.platform else []
    return _run([pixi, "shell-hook", *words, *as_is, "-s", "bash"], workspace.folder, {**environment, "PATH": path})


def _keep_inside(settings: Path) -> None:
    """Make pixi install into the workspace, also if the user's settings have ``detached-environments``."""
    text = settings.read_text() if settings.is_file() else ""
    if "detached-environments" not in text:
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"detached-environments = false\n{text}")


def _run(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command of pixi and return its standard output.

    Raises:
        BuildError: The command failed; the message has its error output.
    """
    with interrupts_held():
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=0o022,
        )
    try:
        output, errors = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        tail = errors.decode(errors="replace").strip()[-_KEPT_OUTPUT:]
        raise BuildError(f"'{shlex.join(argv[:3])}' ended with exit code {process.returncode}:\n{tail}")
    return output.decode(errors="surrogateescape")


def _with_rattler(workspace: Workspace, cache: Path, path: str) -> str:
    try:
        import rattler  # noqa: F401  # the functions below use it
    except ImportError as error:
        raise MissingProgramError(
            "a Pixi environment can be built without Apptainer only with pixi or py-rattler, and neither is installed; "
            "install pixi, or run pip install 'hpcdeploy[direct]'"
        ) from error
    records = _records(workspace)
    _install_records(records, workspace, cache)
    if workspace.wheels:
        files = [wheels.fetch(wheel, cache / "wheels") for wheel in workspace.wheels]
        interpreter = f"/app/.pixi/envs/{workspace.environment}/bin/python"
        wheels.install(files, workspace.prefix, _python(records), interpreter)
    return pixi_hook(workspace, path)


def _records(workspace: Workspace) -> "list[RepoDataRecord]":
    from rattler import LockFile

    file = workspace.folder / "pixi.lock"
    found = LockFile.from_path(file).environment(workspace.environment)
    platforms = [] if found is None else found.platforms()
    platform = next((one for one in platforms if one.name == workspace.row), None)
    if found is None or platform is None:
        raise BuildError(
            f"py-rattler finds no platform {workspace.row!r} of the environment {workspace.environment!r} in pixi.lock; "
            "install pixi, or build with --builder apptainer"
        )
    records = found.conda_repodata_records_for_platform(platform) or []
    bare = [record.name.normalized for record in records if not record.sha256]
    if bare:
        raise BuildError(f"pixi.lock has no sha256 of {', '.join(bare[:5])}; run 'pixi lock' with a current pixi")
    return records


def _install_records(records: "Sequence[RepoDataRecord]", workspace: Workspace, cache: Path) -> None:
    from rattler import Config, PackageCache, ValidationMode, install
    from rattler.exceptions import InstallerError

    own = workspace.folder / ".pixi" / "config.toml"
    config = Config.load_from_default_locations("pixi")
    if own.is_file():
        config = config.merge(Config.load_from_files([own]))
    # An earlier build may have been killed, or the disk may have lost data: compare the cached files with their checksums.
    packages = PackageCache.new_layered([cache / "conda"], cache_origin=True, validation_mode=ValidationMode.full())
    old = os.umask(0o022)
    try:
        asyncio.run(
            install(
                list(records),
                workspace.prefix,
                package_cache=packages,
                config=config,
                show_progress=False,
                execute_link_scripts=False,
            )
        )
    except InstallerError as error:
        raise BuildError(f"the environment {workspace.environment!r} cannot be installed: {error}") from error
    finally:
        os.umask(old)


def _python(records: "Sequence[RepoDataRecord]") -> str:
    """Return the version of the environment's Python as in its folder ``lib/pythonX.Y``."""
    for record in records:
        if record.name.normalized == "python":
            place = getattr(record, "python_site_packages_path", None)
            if place:
                return str(place).split("/python", 1)[1].partition("/")[0]
            return ".".join(str(record.version).split(".")[:2])
    raise BuildError("the environment has PyPI packages but no Python; add python to the workspace's dependencies")


def post_link_scripts(prefix: Path) -> tuple[str, ...]:
    """Return the names of installed packages with a script that should run after the installation.

    Neither pixi nor this builder runs such scripts, unless ``run-post-link-scripts`` of pixi is ``insecure``.

    Raises:
        BuildError: The record of a package is malformed.
    """
    found = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = read_json_of(path, prefix)
        name, files = str(record.get("name", "")), record.get("files")
        if isinstance(files, list) and f"bin/.{name}-post-link.sh" in files:
            found.append(name)
    return tuple(found)
