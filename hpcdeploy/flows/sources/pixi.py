"""A Pixi workspace: its manifest and lock file, read and answered."""

from pathlib import Path, PurePosixPath

from hpcdeploy.definition.pixi import PixiRecipe, pixi_arguments, render_pixi, staged_workspace_file
from hpcdeploy.environments.pixi import is_manifest, read_manifest
from hpcdeploy.environments.pixi_lock import read_locked
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.staging import context_file, copied_files, read_text, sha256
from hpcdeploy.source import PixiSource

MANIFESTS = ("pixi.toml", "pyproject.toml")
LOCK = "pixi.lock"


def prepare(request: Request[PixiSource]) -> Prepared:
    """Make the definition of a locked environment. ``ENVIRONMENT`` and ``CUDA_VERSION`` given for this build count.

    Raises `EnvironmentFileError` and `DefinitionError`.
    """
    folder = request.project / request.source.workspace
    recipe = _recipe(request, folder)
    files = [context_file(folder / name, staged_workspace_file(name)) for name in recipe.workspace]
    return Prepared(
        text=render_pixi(recipe, overrides=request.project),
        files=(*files, *copied_files(request.settings, request.project)),
        arguments=pixi_arguments(recipe),
        secrets=recipe.secrets,
    )


def find_manifest(folder: Path) -> Path:
    """Return the manifest of the workspace in `folder`; `EnvironmentFileError` where it holds none."""
    for name in MANIFESTS:
        path = folder / name
        if path.is_file() and is_manifest(read_text(path), str(path)):
            return path
    raise EnvironmentFileError(
        f"{folder} holds no Pixi workspace: no pixi.toml, and no pyproject.toml with [tool.pixi]; name its folder in the "
        "image's 'pixi' settings, or make one with 'pixi init'"
    )


def _recipe(request: Request[PixiSource], folder: Path) -> PixiRecipe:
    manifest = find_manifest(folder)
    workspace = read_manifest(read_text(manifest), str(manifest))
    environment = workspace.environment(request.build_args.get("ENVIRONMENT", request.source.environment))
    lock_file = folder / LOCK
    if not lock_file.is_file():
        raise EnvironmentFileError(
            f"{lock_file} is missing: an image is built from locked packages only; run 'pixi lock' in {folder} and try again"
        )
    locked = read_locked(read_text(lock_file), environment.name, file=str(lock_file))
    local = next((package for package in locked.packages if package.is_local or package.kind == "source"), None)
    if local:
        raise EnvironmentFileError(
            f"{lock_file}: the environment {environment.name!r} installs {local.name!r} from source ({local.url}), to which "
            "an image cannot be locked; publish it, or leave it out of this environment and bring its code in by 'files'"
        )
    cuda = request.source.cuda
    if cuda is None:
        cuda = locked.cuda or workspace.cuda(environment)
    scripts = dict.fromkeys(script for feature in environment.features for script in feature.scripts)
    return PixiRecipe(
        settings=request.settings,
        environment=environment.name,
        cuda=request.build_args.get("CUDA_VERSION", cuda),
        workspace=(manifest.name, LOCK, *(str(PurePosixPath(script)) for script in scripts)),
        lock_sha256=sha256(lock_file),
        secrets=request.source.secrets,
    )
