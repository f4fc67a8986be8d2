"""Find out whether an image can be built without Apptainer, and what such a build needs besides its definition."""

import platform
from collections.abc import Iterator
from pathlib import Path

from hpcdeploy.architecture import AMD64
from hpcdeploy.definition import guard
from hpcdeploy.definition.oci import ARCHIVES, STAGED_ARCHIVE
from hpcdeploy.definition.parts import runs_in_apptainer, staged_copy
from hpcdeploy.definition.pixi import WORKSPACE, PixiRecipe, staged_beside, staged_workspace_file
from hpcdeploy.direct.activation import NAME
from hpcdeploy.direct.wheels import Wheel, refusal
from hpcdeploy.flows.sources.contract import Request, no_registry
from hpcdeploy.flows.sources.pixi import SETTINGS, LockedWorkspace, read_workspace, recipe_and_notes
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ContextFile, Definition, ImageSettings
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.source import DockerfileSource, OciConfig, OciSource, PixiSource, SpackSource
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

_TEMPLATES = ("defs/pixi.def", "defs/oci.def", "defs/pixi_activation.sh")
_PARTS = "defs/parts"


@frozen
class PixiPlan:
    """A Pixi environment to install: the recipe of its definition, its workspace, and the workspace's activation scripts."""

    recipe: PixiRecipe
    read: LockedWorkspace
    scripts: tuple[str, ...]
    wheels: tuple[Wheel, ...]


@frozen
class DirectPlan:
    """What a build without Apptainer needs besides the definition.

    Attributes:
        kind: The kind of the base image: ``docker`` for a registry, ``oci-archive`` or ``docker-archive`` for a file.
        base: The reference of the base image, or the path of the archive.
        copies: Files to copy, each with its path in the image without a leading slash.
        folders: Empty folders to create, as paths without a leading slash.
        exports: Lines that set variables after the activation.
        labels: Labels that override those of the base image.
        pixi: The environment to install; None for an existing image.
        doubts: Reasons why the result may differ from that of Apptainer. They prevent an automatic choice.
    """

    kind: str
    base: str
    copies: tuple[tuple[ContextFile, str], ...] = ()
    folders: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    pixi: PixiPlan | None = None
    doubts: tuple[str, ...] = ()

    def drops_variables(self, config: OciConfig) -> bool:
        """Tell whether the definition sets all variables of the base image itself (``defs/parts/known_variables.def``)."""
        return self.pixi is None and runs_in_apptainer(value for _, value in config.env)


@frozen
class Refused:
    """The reasons why only Apptainer can build an image. There is at least one."""

    reasons: tuple[str, ...]


def plan_direct(settings: ImageSettings, project: Path, definition: Definition) -> DirectPlan | Refused:
    """Return what a build without Apptainer needs, or why there can be none.

    Args:
        settings: The image's settings.
        project: The project's folder.
        definition: The definition that `hpcdeploy.flows.generate.generate` made from both.

    Raises:
        EnvironmentFileError: An environment file cannot be read.
        DefinitionError: A value is invalid.
    """
    reasons = [*_of_machine(), *_of_settings(settings, project)]
    source = settings.source
    if isinstance(source, PixiSource):
        return _pixi(settings, source, project, definition, reasons)
    if isinstance(source, OciSource):
        return Refused(reasons=tuple(reasons)) if reasons else _oci(settings, source, definition)
    what = {
        SpackSource: "Spack compiles packages in the image",
        DockerfileSource: "a Dockerfile runs its steps in the image",
    }
    return Refused(reasons=(*reasons, what.get(type(source), "a definition of your own may run %post in the image")))


def _of_machine() -> Iterator[str]:
    if platform.machine() != "x86_64" or not Path("/proc/self/exe").exists():
        yield f"this machine ({platform.machine()}) is no Linux on x86_64, which a direct build needs"


def _of_settings(settings: ImageSettings, project: Path) -> Iterator[str]:
    if settings.architecture != AMD64:
        yield f"the image is for {settings.architecture.platform}; a direct build makes images for {AMD64.platform}"
    if settings.setup:
        yield f"'setup' has {len(settings.setup)} steps that must run in the image"
    own = [name for name in _TEMPLATES if (project / name).exists()]
    own += [_PARTS] if (project / _PARTS).exists() else []
    if own:
        yield f"the project has templates of its own ({', '.join(own)})"


def _oci(settings: ImageSettings, source: OciSource, definition: Definition) -> DirectPlan:
    kind, _, _ = source.reference.partition(":")
    base = definition.base
    if kind in ARCHIVES:
        base = str(next(file.source for file in definition.files if file.staged == STAGED_ARCHIVE))
    return DirectPlan(
        kind=kind if kind in ARCHIVES else "docker",
        base=base,
        copies=tuple(_copies(settings, definition)),
        folders=_folders(settings),
        labels=settings.labels,
    )


def _pixi(
    settings: ImageSettings, source: PixiSource, project: Path, definition: Definition, reasons: list[str]
) -> DirectPlan | Refused:
    def config(reference: str) -> OciConfig:
        return dict(definition.asked)[reference] if reference in dict(definition.asked) else no_registry(reference)

    request = Request(
        settings=settings, source=source, project=project, build_args=dict(definition.given), image_config=config
    )
    recipe, _ = recipe_and_notes(request)
    read = read_workspace(request)
    wheels = tuple(
        Wheel(name=package.name, url=package.url.partition("#")[0], sha256=package.sha256)
        for package in read.locked.packages
        if package.kind == "pypi"
    )
    bootstrap, base = guard.header(recipe.settings.final_base or recipe.settings.base, "the base image")
    reasons += [f"the base image is {bootstrap}: {base}, not a Docker or OCI image"] if bootstrap != "docker" else []
    reasons += [f"{package.name} is built from source" for package in recipe.own]
    reasons += [f"{package.name} is built from source" for package in read.locked.packages if package.kind == "source"]
    reasons += filter(None, map(refusal, wheels))
    reasons += ["'pixi' has secrets for the installation"] if recipe.secrets else []
    reasons += [f"[activation.env] has the name {name!r}" for name in read.environment.variables if not NAME.fullmatch(name)]
    reasons += [f"{SETTINGS} lets post-link scripts run"] if _runs_post_link(definition) else []
    if reasons:
        return Refused(reasons=tuple(dict.fromkeys(reasons)))
    scripts = _scripts(recipe)
    return DirectPlan(
        kind="docker",
        base=base,
        copies=(*_workspace_copies(recipe, definition), *_copies(settings, definition)),
        folders=_folders(settings),
        exports=tuple(guard.export(name, value) for name, value in settings.environment),
        labels=settings.labels,
        pixi=PixiPlan(recipe=recipe, read=read, scripts=scripts, wheels=wheels),
        doubts=("the activation of its environment would run on this machine instead of in the image",),
    )


def _runs_post_link(definition: Definition) -> bool:
    """Tell whether the workspace's settings of pixi let it run post-link scripts, which then would run on this machine."""
    staged = staged_workspace_file(SETTINGS)
    file = next((file.source for file in definition.files if file.staged == staged), None)
    if file is None:
        return False
    try:
        return load_toml(read_regular(file, LARGEST_TEXT).decode()).get("run-post-link-scripts", "false") != "false"
    except (OSError, ValueError, UnsuitableFileError, TomlError, UnusableTomlError):
        return True  # pixi reports what is wrong, in the image


def _scripts(recipe: PixiRecipe) -> tuple[str, ...]:
    """Return the activation scripts of the workspace: the files that Pixi needs except its own three."""
    own = {"pixi.toml", "pyproject.toml", "pixi.lock", ".pixi/config.toml"}
    return tuple(name for name in recipe.workspace if name not in own)


def _workspace_copies(recipe: PixiRecipe, definition: Definition) -> Iterator[tuple[ContextFile, str]]:
    staged = {file.staged: file for file in definition.files}
    for name in recipe.workspace:
        yield staged[staged_workspace_file(name)], f"{WORKSPACE.strip('/')}/{name}"
    for name in recipe.activation.beside:
        yield staged[staged_beside(name)], f"{WORKSPACE.strip('/')}/{name}"


def _copies(settings: ImageSettings, definition: Definition) -> Iterator[tuple[ContextFile, str]]:
    """Yield the files of the setting ``files`` with their paths in the image."""
    for number, copy in enumerate(settings.files):
        staged, destination = staged_copy(settings, number), str(guard.destination(copy.destination)).strip("/")
        for file in definition.files:
            if file.staged == staged:
                yield file, destination
            elif file.staged.startswith(f"{staged}/"):
                yield file, f"{destination}/{file.staged.removeprefix(staged).strip('/')}"


def _folders(settings: ImageSettings) -> tuple[str, ...]:
    return tuple(str(guard.destination(place)).strip("/") for place in settings.bind_points)
