"""Prepare an image from a Pixi workspace: read its manifest and lock file."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition import guard
from hpcdeploy.definition.base_images import check_glibc, choose_base, load_bases
from hpcdeploy.definition.pixi import PixiRecipe, pixi_arguments, render_pixi, staged_workspace_file
from hpcdeploy.environments.channel_address import holds_credentials
from hpcdeploy.environments.pixi import Environment, Workspace, is_manifest, read_manifest
from hpcdeploy.environments.pixi_choice import Choice, choose_platform
from hpcdeploy.environments.pixi_lock import LockedEnvironment, lock_file_of, read_lock_table
from hpcdeploy.environments.pixi_platform import DEFAULT_GLIBC, Platform, overrides
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.activation import activation_files, read_activation
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.local_packages import own_packages, own_source, package_sources
from hpcdeploy.flows.sources.staging import context_file, copied_files, read_text
from hpcdeploy.frozen import frozen
from hpcdeploy.known_files import digest_of, document_of
from hpcdeploy.source import PixiSource

MANIFESTS = ("pixi.toml", "pyproject.toml")
LOCK = "pixi.lock"
SETTINGS = ".pixi/config.toml"
"""Pixi's settings for one workspace, such as mirrors.

This is the only file in ``.pixi`` that is copied, because Pixi's own .gitignore excludes all other files there.
"""


def prepare(request: Request[PixiSource]) -> Prepared:
    """Make the definition of a locked environment.

    The build arguments ``ENVIRONMENT`` and ``CUDA_VERSION`` override the settings.

    Raises:
        EnvironmentFileError: An environment file is missing, malformed, or outside the project.
        DefinitionError: A file is missing, or a base image has an older C library than the packages need.
        TemplateError: A template is broken.
    """
    folder = request.project / request.source.workspace
    recipe, chosen = recipe_and_notes(request)
    boundary = Boundary(request.project)
    files = [context_file(folder / name, staged_workspace_file(name), boundary) for name in recipe.workspace]
    files += activation_files(recipe.activation, folder, request.project)
    source, source_notes = own_source(recipe.own, folder, request.project)
    return Prepared(
        text=render_pixi(recipe, overrides=request.project),
        files=(*files, *source, *copied_files(request.settings, request.project)),
        arguments=pixi_arguments(recipe),
        secrets=recipe.secrets,
        notes=(*chosen, *source_notes),
    )


def recipe_and_notes(request: Request[PixiSource]) -> tuple[PixiRecipe, tuple[str, ...]]:
    """Return the image's recipe, and notes on the choices that were made for it.

    If the settings have no base image, a base image is chosen.

    Raises:
        EnvironmentFileError: An environment file is missing or malformed.
        DefinitionError: A base image is known to have an older C library than the packages need.
    """
    (recipe, notes), reason = _recipe(request, request.project / request.source.workspace), ""
    bases, settings = load_bases(request.project), recipe.settings
    if not settings.base:
        base, reason = choose_base(bases, recipe.cuda)
        settings = replace(settings, base=base)
    check_glibc(bases, settings.base, recipe.glibc, "base")
    check_glibc(bases, settings.final_base, recipe.glibc, "final-base")
    return replace(recipe, settings=settings), (*((reason,) if reason else ()), *notes)


def find_manifest(folder: Path, within: Boundary) -> Path:
    """Return the manifest of the workspace in `folder`.

    Raises:
        EnvironmentFileError: `folder` has no manifest, or the manifest is outside the project `within`.
    """
    for name in MANIFESTS:
        path = folder / name
        if path.exists() and is_manifest(read_text(path, within), str(path)):
            return path
    raise EnvironmentFileError(
        f"{folder} has no Pixi workspace: no pixi.toml, and no pyproject.toml with [tool.pixi]; set the workspace's folder "
        "in the image's 'pixi' settings, or create a workspace with 'pixi init'"
    )


@frozen
class LockedWorkspace:
    """A workspace's files, and the environment and platform of an image.

    Attributes:
        manifest: The manifest's path.
        text: The manifest's text.
        lock_text: The lock file's text.
        workspace: The content of the manifest.
        environment: The environment on its platform.
        locked: The locked packages.
        choice: The platform.
        platform: The platform with the image's CUDA version.
    """

    manifest: Path
    text: str
    lock_text: str
    workspace: Workspace
    environment: Environment
    locked: LockedEnvironment
    choice: Choice
    platform: Platform


def read_workspace(request: Request[PixiSource]) -> LockedWorkspace:
    """Read the manifest and the lock file of an image, and choose its platform.

    Raises:
        EnvironmentFileError: A file is missing, malformed, or outside the project.
    """
    folder, boundary = request.project / request.source.workspace, Boundary(request.project)
    manifest = find_manifest(folder, boundary)
    text = read_text(manifest, boundary)
    workspace = read_manifest(text, str(manifest))
    environment = workspace.environment(request.build_args.get("ENVIRONMENT", request.source.environment))
    lock_file = folder / LOCK
    if not lock_file.exists():
        raise EnvironmentFileError(
            f"{lock_file} is missing; images are built from locked packages only; run 'pixi lock' in {folder} and try again"
        )
    lock_text = read_text(lock_file, boundary)
    table = document_of(lock_text, lambda: read_lock_table(lock_text, str(lock_file)))
    lock = lock_file_of(table, str(lock_file))
    wanted = request.build_args.get("CUDA_VERSION", request.source.cuda)
    choice = choose_platform(
        workspace,
        environment,
        lock,
        cuda=wanted,
        platform=request.source.platform,
        architecture=request.settings.architecture,
    )
    return LockedWorkspace(
        manifest=manifest,
        text=text,
        lock_text=lock_text,
        workspace=workspace,
        environment=environment.on(choice.platform),
        locked=lock.read(environment.name, choice.row),
        choice=choice,
        platform=choice.platform if wanted is None else replace(choice.platform, cuda=wanted),
    )


def _recipe(request: Request[PixiSource], folder: Path) -> tuple[PixiRecipe, tuple[str, ...]]:
    boundary, read = Boundary(request.project), read_workspace(request)
    manifest, lock_file, environment = read.manifest, folder / LOCK, read.environment
    locked, choice, platform = read.locked, read.choice, read.platform
    own_settings = (SETTINGS,) if (folder / SETTINGS).exists() else ()
    scripts = _scripts(environment, manifest)
    needed = (manifest.name, LOCK, *own_settings, *scripts)
    activation, notes = read_activation(
        folder, request.project, scripts, needed, named=request.source.files, variables=environment.variables
    )
    own = own_packages(environment, locked, str(lock_file))
    recipe = PixiRecipe(
        settings=request.settings,
        environment=environment.name,
        cuda=guard.cuda_version(platform.cuda),
        workspace=needed,
        lock_sha256=digest_of(lock_file),
        secrets=request.source.secrets,
        glibc=platform.glibc or DEFAULT_GLIBC,
        own=(*own, *package_sources(read.workspace, environment, own, folder, boundary)),
        activation=activation,
        platform=platform.name if choice.others else "",
        overrides=overrides(platform),
    )
    exposed = [
        file.name for file, content in ((manifest, read.text), (lock_file, read.lock_text)) if holds_credentials(content)
    ]
    chosen = tuple(note for note in (choice.note, choice.cuda_note) if note)
    return recipe, (*chosen, *notes, *(_credentials_note(name) for name in exposed))


def _scripts(environment: Environment, manifest: Path) -> tuple[str, ...]:
    """Return the activation scripts without duplicates; raise `EnvironmentFileError` for one outside the workspace."""
    scripts = dict.fromkeys(PurePosixPath(script) for feature in environment.features for script in feature.scripts)
    for script in scripts:
        if script.is_absolute() or ".." in script.parts:
            raise EnvironmentFileError(
                f"{manifest}: activation.scripts names '{script}', but the image only has files of the workspace; "
                "expected a path in the workspace without '..'; move the script into the workspace"
            )
    return tuple(map(str, scripts))


def _credentials_note(file: str) -> str:
    return (
        f"{file} has a password or token in a channel's URL, and is part of the image, so everyone with the image can "
        "read the password. Remove it from the URL, and pass the credentials as a secret ('secrets' of 'pixi')"
    )
