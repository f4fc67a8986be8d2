"""Find a project that the record has runs or images of, and update the record if a project's folder was moved."""

import os
import shlex
from pathlib import Path

from hpcdeploy.config.files import project_folder
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.store import Store


def find_project(words: str, folder: Path, store: Store) -> Path:
    """Return the folder of the project that `words` names.

    `words` is the path of the project's folder or of a folder in it, relative to `folder`; or the last components of the
    path of a project in the record.

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
    what = "is ambiguous" if found else "is not a project, and has no recorded runs"
    raise UnknownRunError(f"project {words!r} {what}; expected the folder of one of: {_listed(found or known)}")


def follow_move(words: str, project: Path | None, folder: Path, store: Store) -> int:
    """Record that the project in the folder `words` is in the folder `project` now; return the number of its runs.

    The old folder must not contain a project any more. If it does, `project` is a copy, and the runs belong to the original.

    Args:
        words: The old folder, as the user wrote it, relative to `folder`.
        project: The project in the working folder; None if there is none.
        folder: The working folder.
        store: The record of runs and images.

    Raises:
        ConfigError: `project` is None, or the old folder still contains a project.
        UnknownRunError: The record has no runs or images of the old folder.
    """
    if project is None:
        raise ConfigError(f"--moved-from: {folder} is not in a project; change to the new folder of the project first")
    path = folder / os.path.expanduser(words)  # noqa: PTH111 - Path raises for an unknown user
    known = store.projects()
    old = next((one for one in (Path(os.path.realpath(path)), Path(os.path.normpath(path))) if one in known), None)
    if old is None:
        gone = _listed([one for one in known if not one.exists()])
        raise UnknownRunError(
            f"--moved-from: the record has no project {words!r}; expected a recorded folder that no longer exists: {gone}"
        )
    if _is_project(old):
        raise ConfigError(
            f"--moved-from: {old} is still a project, so its runs stay there; expected a folder that no longer exists"
        )
    return store.moved(old, project)


def check_there(run_id: str, folder: Path) -> None:
    """Raise `ConfigError` if `folder`, from which a run was submitted, no longer contains a project.

    The message has the command to run if the project was moved.
    """
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
