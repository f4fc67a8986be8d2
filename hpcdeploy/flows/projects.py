"""Find the projects that the record has runs and images of, and follow one whose folder was renamed or moved."""

import os
import shlex
from pathlib import Path

from hpcdeploy.config.files import project_folder
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.store import Store


def find_project(words: str, folder: Path, store: Store) -> Path:
    """Return the folder of a project: a folder in it, relative to `folder`, or the last part of a recorded one.

    Raises:
        UnknownRunError: `words` matches no project, or several.
    """
    path = Path(os.path.realpath(folder / os.path.expanduser(words)))  # noqa: PTH111 - Path raises for an unknown user
    known = store.projects()
    if path in known:
        return path
    if inside := project_folder(path) if path.is_dir() else None:
        return inside.resolve()
    found = [one for one in known if one.parts[-len(Path(words).parts) :] == Path(words).parts]
    if len(found) == 1:
        return found[0]
    what = "is ambiguous" if found else "has no recorded runs, and is no project"
    raise UnknownRunError(f"project {words!r} {what}; expected the folder of one of: {_listed(found or known)}")


def follow_move(words: str, project: Path | None, folder: Path, store: Store) -> int:
    """Let the runs and images of the project folder `words` belong to `project`, and return the number of runs.

    The old folder must no longer be a project: otherwise `project` is a copy, whose original keeps its runs.

    Raises:
        ConfigError: `folder` is not in a project, or the old folder is still a project.
        UnknownRunError: The record has nothing of the old folder.
    """
    if project is None:
        raise ConfigError(f"--moved-from: {folder} is not in a project; change to the new folder of the project first")
    path = folder / os.path.expanduser(words)  # noqa: PTH111 - Path raises for an unknown user
    known = store.projects()
    old = next((one for one in (Path(os.path.realpath(path)), Path(os.path.normpath(path))) if one in known), None)
    if old is None:
        gone = _listed([one for one in known if not one.exists()])
        raise UnknownRunError(f"--moved-from: the record has no project {words!r}; expected a folder that is gone: {gone}")
    if _is_project(old):
        raise ConfigError(f"--moved-from: {old} is still a project, so its runs stay there; expected a folder that is gone")
    return store.moved(old, project)


def check_there(run_id: str, folder: Path) -> None:
    """Raise `ConfigError` if the project of a run is not in its `folder` any more, with what to do if it was moved."""
    if _is_project(folder):
        return
    problem = "has no settings of hpcdeploy any more" if folder.is_dir() else "no longer exists"
    raise ConfigError(
        f"run {run_id} was submitted from {folder}, which {problem}. If the project was renamed or moved, run "
        f"'hpcdeploy runs --moved-from {shlex.quote(str(folder))}' in its new folder, and then this command again"
    )


def _is_project(folder: Path) -> bool:
    return folder.is_dir() and project_folder(folder) == folder


def _listed(folders: list[Path]) -> str:
    return ", ".join(map(str, folders)) or "(none)"
