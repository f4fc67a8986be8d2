"""Find the files that the activation scripts of a Pixi workspace may source: the files in the scripts' folders."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.pixi import Activation, staged_beside, staged_more
from hpcdeploy.environments.pixi_activation import evaluate, surroundings
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.sources.local_packages import NOT_SOURCE
from hpcdeploy.flows.sources.staging import context_file, exact_text, folder_files, plain_lines
from hpcdeploy.git import list_files
from hpcdeploy.image import ContextFile

MOST = 10_000_000
"""Maximum total size, in bytes, of the files that are copied only because they are in the folder of an activation script."""

_NAMED = 5
"""Maximum number of files in one message."""

_SHELL = ("", ".sh", ".bash", ".env")


def read_activation(
    workspace: Path,
    project: Path,
    scripts: Sequence[str],
    known: Sequence[str],
    *,
    named: Sequence[str] | None,
    variables: Mapping[str, str],
) -> tuple[Activation, tuple[str, ...]]:
    """Return the files and variables that an activation needs, and notes for the user.

    Args:
        workspace: The workspace's folder.
        project: The project's folder.
        scripts: The paths of the activation scripts, relative to `workspace`.
        known: The paths of files that are copied in any case, relative to `workspace`.
        named: The setting ``pixi.files``. If None, the setting is missing, and the scripts' folders are searched.
        variables: The variables that the activation sets, by name.

    Raises:
        DefinitionError: The scripts' folders have more than `MOST` bytes.
    """
    beside, folders, notes = _beside(workspace, project, scripts, known) if named is None else ((), (), ())
    more = tuple(str(PurePosixPath(name)) for name in named or ())
    evaluation = evaluate(variables)
    if evaluation.kept:
        kept = (
            f"activation.env: {', '.join(evaluation.kept)} cannot be evaluated when a container starts (it runs a command, "
            "or uses other shell syntax than $NAME and ${NAME:-default}). The image keeps the value from the build; set "
            "another value in the job's environment"
        )
        notes = (*notes, kept)
    texts = _script_texts(workspace, (*scripts, *beside, *more), Boundary(project))
    activation = Activation(
        beside=beside,
        folders=folders,
        more=more,
        started=evaluation.started,
        outside=evaluation.outside,
        surroundings=surroundings(texts, variables),
    )
    return activation, notes


def activation_files(activation: Activation, workspace: Path, project: Path) -> list[ContextFile]:
    """Return the files of an activation, each with its path in the build context."""
    files = [context_file(workspace / name, staged_beside(name)) for name in activation.beside]
    for name in activation.more:
        files += folder_files(project, str(workspace / name), staged_more(name), "'pixi.files'")
    return files


def _beside(
    workspace: Path, project: Path, scripts: Sequence[str], known: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Find the files that `scripts` may source.

    - For a script in a subfolder of the workspace: all files in that subfolder.
    - For a script in the workspace's own folder: the files in that folder, and each subfolder that a shell script there
      mentions. The whole workspace is not copied, because then each change of the code would change the image.

    Only files that git tracks are returned. Without git, all files except `NOT_SOURCE` are returned.

    Returns:
        The files; the subfolders that contain some of them; and notes on files and folders that are left out. All paths are
            relative to `workspace`. In the notes, the names of folders end with a slash.
    """
    inside = [PurePosixPath(script) for script in scripts if _is_inside(script)]
    folders = {str(script.parent) for script in inside} - {"."}
    files: dict[str, None] = {}
    others: list[str] = []
    if any(str(script.parent) == "." for script in inside):
        tracked, left_out = _files_of(workspace)
        top = [name for name in tracked if "/" not in name]
        files |= dict.fromkeys(top)
        others += [name for name in left_out if "/" not in name]
        texts = _script_texts(workspace, (*top, *map(str, inside)), Boundary(project))
        folders |= {name for name in _top_folders(tracked) if _is_named(name, texts)}
        others += [f"{name}/" for name in _top_folders(left_out) if name not in folders and _is_named(name, texts)]
    outermost = sorted(folder for folder in folders if not any(_is_under(folder, other) for other in folders))
    for folder in outermost:
        tracked, left_out = _files_of(workspace / folder)
        files |= dict.fromkeys(f"{folder}/{name}" for name in tracked)
        others += [f"{folder}/{name}" for name in left_out]
    kept = {name: size for name in files if name not in known and (size := _size(workspace / name, project)) is not None}
    _check_size(kept, scripts, workspace)
    holding = tuple(folder for folder in outermost if any(name.startswith(f"{folder}/") for name in kept))
    return tuple(kept), holding, tuple(_left_out(others, known))


def _script_texts(workspace: Path, files: Iterable[str], within: Boundary) -> list[str]:
    """Return the texts of all files that may be shell scripts.

    Args:
        workspace: The workspace's folder.
        files: Paths of files, or of folders that are searched, relative to `workspace`.
        within: The project that must contain the files.
    """
    found: list[Path] = []
    for path in (workspace / name for name in files):
        found += [path] if path.is_file() else [*path.rglob("*.sh"), *path.rglob("*.bash")]
    return [_text_of(path, within) for path in found if path.suffix in _SHELL]


def _text_of(path: Path, within: Boundary) -> str:
    """Return a file's text; empty if it cannot be read as UTF-8, is larger than `MOST`, or is outside the project."""
    try:
        return plain_lines(exact_text(path, within)) if path.stat().st_size <= MOST else ""
    except (OSError, UnicodeDecodeError, EnvironmentFileError):
        return ""


def _is_inside(script: str) -> bool:
    path = PurePosixPath(script)
    return not path.is_absolute() and ".." not in path.parts


def _is_under(folder: str, other: str) -> bool:
    return folder != other and PurePosixPath(folder).is_relative_to(other)


def _is_named(folder: str, texts: Iterable[str]) -> bool:
    return any(f"{folder}/" in text for text in texts)


def _top_folders(names: Iterable[str]) -> list[str]:
    return sorted({name.partition("/")[0] for name in names if "/" in name})


def _files_of(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files under `folder` that git tracks, and the files that git does not track.

    The second list includes ignored files. An ignored folder without tracked files is returned as one name with a slash at
    the end (git-ls-files(1), ``--directory``); the name is empty for `folder` itself.

    Without git, or outside a work tree, the first list has all files, and the second list is empty.
    """
    listed = []
    others, ignored = ("--others", "--exclude-standard"), ("--ignored", "--directory")
    for words in (("--cached",), others, (*others, *ignored)):
        names = list_files(folder, *words)
        if names is None:
            return sorted(_walk(folder)), []
        # If git ignores the folder itself, its name is "./".
        plain = {name.removeprefix("./") for name in names}
        listed.append(sorted(name for name in plain if _is_source(name) and _is_listed(folder / name, name)))
    return listed[0], [*listed[1], *listed[2]]


def _is_listed(path: Path, name: str) -> bool:
    return path.is_file() or (path.is_dir() and name[-1:] in ("", "/"))


def _walk(folder: Path) -> Iterator[str]:
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_SOURCE]
        yield from (name for name in ((Path(top) / one).relative_to(folder).as_posix() for one in names) if _is_source(name))


def _is_source(name: str) -> bool:
    path = PurePosixPath(name)
    return not NOT_SOURCE.intersection(path.parts) and path.suffix != ".sif"


def _size(path: Path, project: Path) -> int | None:
    """Return a file's size in bytes; None if it is no regular file (any more), or is a link to outside the project."""
    real = path.resolve()
    return real.stat().st_size if real.is_file() and real.is_relative_to(project.resolve()) else None


def _check_size(files: dict[str, int], scripts: Sequence[str], workspace: Path) -> None:
    total = sum(files.values())
    if total <= MOST:
        return
    largest = sorted(files, key=lambda name: (-files[name], name))[:_NAMED]
    listed = ", ".join(f"{name} ({files[name] / 1e6:.1f} MB)" for name in largest)
    raise DefinitionError(
        f"{', '.join(scripts)}: the files in the folder of an activation script are copied into the build, but in "
        f"{workspace} these files have {total / 1e6:.1f} MB, above the maximum of {MOST / 1e6:.0f} MB (largest: {listed}). "
        "List the files and folders that the scripts need in 'pixi.files' of the image, such as "
        "pixi = { files = ['scripts/lib'] }. Then only the listed files are copied, regardless of their size (files = [] "
        "copies no file)"
    )


def _left_out(names: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    left = [name for name in names if name not in known]
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        yield (
            f"{', '.join(left[:_NAMED])}{more}: in the folder of an activation script, but not tracked by git, so not "
            "copied into the build. If a script sources such a file, run 'git add' ('git add -f' for an ignored file), or "
            "list the file in 'pixi.files'"
        )
