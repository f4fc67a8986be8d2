"""From an image's settings and the project's files to a definition with all that a build of it needs. Nothing is written."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from hpcdeploy.definition.guard import argument
from hpcdeploy.definition.rendering import (
    Recipe,
    check_definition,
    default_arguments,
    render_definition,
    staged_copy,
    staged_workspace_file,
)
from hpcdeploy.environments.pixi import is_manifest, read_manifest
from hpcdeploy.environments.pixi_lock import read_locked
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.image import ContextFile, Definition, FileCopy, ImageSettings

MANIFESTS = ("pixi.toml", "pyproject.toml")
LOCK = "pixi.lock"
LEFT_OUT = frozenset({".git", ".pixi", ".hpcdeploy", "__pycache__", ".DS_Store"})
"""Names that no copied folder brings along: they are caches, history, or another machine's environments."""


def generate(settings: ImageSettings, project: Path, *, build_args: Sequence[tuple[str, str]] = ()) -> Definition:
    """Make the definition of one image of the project in the folder `project`.

    `build_args` are given for this build (the last of a name wins); ``ENVIRONMENT`` and ``CUDA_VERSION`` among them change
    what is read from the lock file too. Raises `EnvironmentFileError` and `DefinitionError`.
    """
    given = dict(argument(name, value) for name, value in build_args)
    folder = project / settings.source.workspace
    recipe = _recipe(settings, folder, given)
    text = render_definition(recipe, overrides=project)
    own = default_arguments(recipe)
    unknown = [name for name in given if name not in own]
    if unknown:
        raise DefinitionError(
            f"the build argument {unknown[0]!r} is not known to the image {settings.name!r}; "
            f"known are {', '.join(sorted(own))}, and more can be named in its 'build_args'"
        )
    check_definition(text, given)
    files = [_context_file(folder / name, staged_workspace_file(name)) for name in recipe.workspace]
    for number, copy in enumerate(settings.files):
        files += _copied(project, copy, staged_copy(settings, number))
    return Definition(
        name=settings.name,
        text=text,
        files=tuple(files),
        build_args=tuple(given.items()),
        inputs=_inputs(text, files, given),
    )


def _recipe(settings: ImageSettings, folder: Path, given: dict[str, str]) -> Recipe:
    manifest = _manifest(folder)
    workspace = read_manifest(_read(manifest), str(manifest))
    environment = workspace.environment(given.get("ENVIRONMENT", settings.source.environment))
    lock_file = folder / LOCK
    if not lock_file.is_file():
        raise EnvironmentFileError(
            f"{lock_file} is missing: an image is built from locked packages only; run 'pixi lock' in {folder} and try again"
        )
    locked = read_locked(_read(lock_file), environment.name, file=str(lock_file))
    local = next((package for package in locked.packages if package.is_local or package.kind == "source"), None)
    if local:
        raise EnvironmentFileError(
            f"{lock_file}: the environment {environment.name!r} installs {local.name!r} from source ({local.url}), to which "
            "an image cannot be locked; publish it, or leave it out of this environment and bring its code in by 'files'"
        )
    cuda = settings.source.cuda
    if cuda is None:
        cuda = locked.cuda or workspace.cuda(environment)
    scripts = dict.fromkeys(script for feature in environment.features for script in feature.scripts)
    return Recipe(
        settings=settings,
        environment=environment.name,
        cuda=given.get("CUDA_VERSION", cuda),
        workspace=(manifest.name, LOCK, *(str(PurePosixPath(script)) for script in scripts)),
        lock_sha256=_sha256(lock_file),
    )


def _manifest(folder: Path) -> Path:
    for name in MANIFESTS:
        path = folder / name
        if path.is_file() and is_manifest(_read(path), str(path)):
            return path
    raise EnvironmentFileError(
        f"{folder} holds no Pixi workspace: no pixi.toml, and no pyproject.toml with [tool.pixi]; name its folder in the "
        "image's 'pixi' settings, or make one with 'pixi init'"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _copied(project: Path, copy: FileCopy, staged: str) -> list[ContextFile]:
    source = project / copy.source
    if not source.exists():
        raise DefinitionError(f"'files' names {copy.source!r}, which is not in {project}; correct it or make the file")
    files = list(_walk(project, source, staged, ()))
    if not files:
        raise DefinitionError(f"'files' names {copy.source!r}, in which there is no file to copy")
    return files


def _walk(project: Path, path: Path, staged: str, above: tuple[Path, ...]) -> Iterator[ContextFile]:
    """Yield the files under `path` in a fixed order; links are followed, as the copy into the image would, but not out."""
    real = path.resolve()
    if not real.is_relative_to(project.resolve()):
        raise DefinitionError(f"'files' leads to {path}, which lies outside the project {project}; copy it into the project")
    if real in above:
        raise DefinitionError(f"'files' leads to {path}, a link to a folder that holds it; remove that link")
    if path.is_dir():
        for name in sorted(os.listdir(path)):  # noqa: PTH208 - names in an order of their own
            if name not in LEFT_OUT:
                yield from _walk(project, path / name, f"{staged}/{name}", (*above, real))
    else:
        yield _context_file(path, staged)


def _context_file(path: Path, staged: str) -> ContextFile:
    if not path.is_file():
        raise EnvironmentFileError(f"{path} is missing or no regular file, but the image needs it")
    mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
    return ContextFile(source=path, staged=staged, mode=mode, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inputs(text: str, files: Sequence[ContextFile], build_args: dict[str, str]) -> str:
    listed = sorted((file.staged, file.mode, file.sha256) for file in files)
    whole = json.dumps({"definition": text, "files": listed, "build_args": build_args}, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()
