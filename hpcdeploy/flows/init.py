"""Writes a first ``hpcdeploy.toml`` out of what a folder holds: what an image can be made from, and git's origin."""

from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.config.files import PROJECT_FILE_NAME, settings_in
from hpcdeploy.config.first_settings import Facts, first_settings
from hpcdeploy.environments.pixi import is_manifest, read_manifest
from hpcdeploy.errors import ConfigError, EnvironmentFileError
from hpcdeploy.git import ask_git
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular
from hpcdeploy.whole_file import write_whole

MANIFESTS = ("pixi.toml", "pyproject.toml")


def init(folder: Path, *, force: bool = False) -> Path:
    """Write ``hpcdeploy.toml`` in `folder` and return its path.

    Raises `ConfigError` where there are settings already, unless `force` and they are in ``hpcdeploy.toml`` itself.
    """
    path = folder / PROJECT_FILE_NAME
    if path.exists():
        if not force:
            raise ConfigError(f"{path} is there already; overwrite it with --force")
    elif (place := settings_in(folder)) is not None:
        raise ConfigError(f"{place[0]} holds settings already, in [{place[1]}]; expected them in one file: edit them there")
    text = first_settings(look_around(folder))
    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def look_around(folder: Path) -> Facts:
    """Return what `folder` holds.

    Raises `EnvironmentFileError` for a Pixi manifest that cannot be read, or is a link out of the project.
    """
    workspace = None
    for file in (folder / name for name in MANIFESTS):
        if workspace is None and file.exists():
            Boundary(folder).check(file)
            try:
                text = read_regular(file, LARGEST_TEXT).decode()
            except (OSError, UnicodeDecodeError) as error:
                raise EnvironmentFileError(f"{file}: cannot be read: {error}") from error
            if is_manifest(text, str(file)):
                workspace = read_manifest(text, str(file))
    others = [name for name in ("spack.yaml", "Dockerfile", "Containerfile") if (folder / name).is_file()]
    others += sorted(path.name for path in folder.glob("*.def") if path.is_file())
    return Facts(workspace=workspace, others=tuple(others), remote=_origin(folder))


def _origin(folder: Path) -> str:
    answer = ask_git(folder, "remote", "get-url", "origin")
    return answer.stdout.decode(errors="replace").strip() if answer is not None and answer.returncode == 0 else ""
