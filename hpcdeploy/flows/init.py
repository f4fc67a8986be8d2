"""Write a first ``hpcdeploy.toml`` from the files in a folder: sources for an image, and git's origin."""

from itertools import islice
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.config.files import PROJECT_FILE_NAME, settings_in
from hpcdeploy.config.first_jobs import paths_in
from hpcdeploy.config.first_settings import Facts, first_settings
from hpcdeploy.environments.pixi import Workspace, is_manifest, read_manifest
from hpcdeploy.errors import ConfigError, EnvironmentFileError
from hpcdeploy.generated_file import write_generated
from hpcdeploy.git import run_git
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular

MANIFESTS = ("pixi.toml", "pyproject.toml")

_MOST_PATHS = 10_000
"""Maximum number of paths from the commands of Pixi tasks that are looked up on disk."""


def init(folder: Path, *, force: bool = False) -> Path:
    """Write ``hpcdeploy.toml`` in `folder` and return its path.

    Raises:
        ConfigError: The folder already has settings (with `force`, ``hpcdeploy.toml`` is overwritten), or the file cannot be
            written.
        EnvironmentFileError: A Pixi manifest cannot be read.
    """
    path = folder / PROJECT_FILE_NAME
    if not path.exists() and (place := settings_in(folder)) is not None:
        raise ConfigError(f"{place[0]} already has settings in [{place[1]}]; edit them there")
    text = first_settings(look_around(folder))
    try:
        write_generated({path: text}, force=force, edited=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def look_around(folder: Path) -> Facts:
    """Return the facts about `folder` from which its first settings are made.

    Raises:
        EnvironmentFileError: A Pixi manifest cannot be read, or is a link out of the project.
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
    files = _files_of_tasks(folder, workspace) if workspace else frozenset()
    return Facts(workspace=workspace, files=files, others=tuple(others), remote=_origin(folder))


def _files_of_tasks(folder: Path, workspace: Workspace) -> frozenset[str]:
    """Return the files of `folder` that tasks of the workspace name in their commands."""
    features = {id(one): one for environment in workspace.environments for one in environment.features}.values()
    parts = [part for feature in features for part in (feature, *(part for _, part in feature.targets))]
    named = {path for part in parts for task in part.tasks for path in paths_in(task)}
    return frozenset(path for path in islice(named, _MOST_PATHS) if (folder / path).is_file())


def _origin(folder: Path) -> str:
    answer = run_git(folder, "remote", "get-url", "origin")
    return answer.stdout.decode(errors="replace").strip() if answer is not None and answer.returncode == 0 else ""
