"""Inspect what the user names: an image of the project, an environment, a lock file, a definition, or a built image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.boundary import Boundary
from hpcdeploy.config.project import Project
from hpcdeploy.definition.base_images import choose_base, load_bases
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.spack import bases
from hpcdeploy.environments.channel_address import shown_argument, without_user
from hpcdeploy.environments.inventory import Item, largest_first
from hpcdeploy.environments.pixi import is_manifest
from hpcdeploy.environments.spack import read_environment
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.freshness import freshness
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.inspect.against import Older, last_build, older
from hpcdeploy.flows.inspect.report import ImageReport, PublishedReport, Report, SourceReport, StageReport
from hpcdeploy.flows.inspect.spack import inspect_spack
from hpcdeploy.flows.inspect.workspace import Wanted, inspect_lock, inspect_workspace
from hpcdeploy.flows.sources.pixi import LOCK, MANIFESTS
from hpcdeploy.flows.sources.spack_files import LOCK as SPACK_LOCK
from hpcdeploy.flows.sources.spack_files import MANIFEST
from hpcdeploy.flows.sources.spack_files import MANIFEST as SPACK_MANIFEST
from hpcdeploy.flows.sources.staging import copied_files, read_text
from hpcdeploy.image import BuiltImage, ImageSettings
from hpcdeploy.plain_text import nearest
from hpcdeploy.regular_file import open_regular
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, SpackSource
from hpcdeploy.store import Store


def inspect_image(path: Path, store: Store | None = None) -> ImageReport:
    """Report on an image file. Apptainer is not used. `store` is the record, in which other images are looked up.

    If there is a record next to the image, the whole file is read, because the record only applies to a file with the
    recorded sha256.

    Raises:
        ConfigError: The file cannot be read, is not an image, or is damaged.
        BuildError: The record is malformed.
    """
    try:
        with open_regular(path) as file:
            contents = read_contents(file, str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; expected an Apptainer image (.sif)") from error
    record = read_record(path)
    notes: tuple[str, ...] = ()
    if record is None and record_path(path).is_file():
        notes = (f"{record_path(path)} does not match {path}, which was changed or replaced since its build",)
    same_image, same_environment = shared_with(record, store)
    return ImageReport(
        file=str(path),
        contents=contents,
        record=record,
        same_image=same_image,
        same_environment=same_environment,
        notes=notes,
    )


def shared_with(image: BuiltImage | None, store: Store | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the other images on record with the same key as `image`, and those with only the same environment.

    Both are empty if `image` was built without keys. Each image is described by its name and the project's folder.
    """
    if image is None or store is None or not image.environment:
        return (), ()
    others = [
        (f"{other.name} in {project}", other)
        for project, other in store.built_images()
        if other.environment == image.environment and _place(other) != _place(image)
    ]
    return (
        tuple(name for name, other in others if other.inputs == image.inputs),
        tuple(name for name, other in others if other.inputs != image.inputs),
    )


def _place(image: BuiltImage) -> tuple[str, str]:
    return image.built_on, image.path if image.built_on else str(Path(image.path).resolve())


_IN_BUILD = "the image's content depends on its steps, not on a lock file; only the files that it copies are counted here"


def inspect_definition(
    settings: ImageSettings, source: DefinitionSource, project: Path, *, named: bool = False
) -> SourceReport:
    """Report on the definition of an image of the project in the folder `project`.

    Args:
        settings: The image's settings.
        source: The definition.
        project: The project's folder.
        named: Whether the user named the file in the command, so that the file may be outside the project.

    Raises:
        DefinitionError: Apptainer would reject the definition, or files are missing. One error lists all build arguments
            without a value, or all missing files.
    """
    definition = generate(settings, project, named=named)
    stages = check_definition(definition.text, dict(definition.build_args))
    arguments = {name: value for stage in stages for name, value in stage.arguments.items()} | dict(definition.build_args)
    return SourceReport(
        source="definition",
        where=str(project / source.file),
        base=without_user(stages[0].header.get("from", "")),
        final_base=without_user(definition.base),
        stages=tuple(
            StageReport(
                name=stage.header.get("stage", ""),
                bootstrap=stage.header["bootstrap"],
                base=without_user(stage.header.get("from", "")),
                copies_from=tuple(dict.fromkeys(copies.stage for copies in stage.files if copies.stage)),
            )
            for stage in stages
        ),
        arguments=tuple((name, shown_argument(name, value)) for name, value in arguments.items()),
        items=tuple(
            Item(name=file.staged, version="", kind="file", family="files", size=file.source.stat().st_size)
            for file in definition.files
        ),
        notes=(_IN_BUILD, *definition.notes),
    )


OlderThan = Callable[[Path], Older]
"""A function that returns the older lock file for a comparison, given the path of the newer lock file."""


def inspect_settings(
    settings: ImageSettings,
    project: Path,
    store: Store,
    *,
    environment: str | None = None,
    against: OlderThan | None = None,
) -> SourceReport:
    """Report on the content of an image of the project in the folder `project`.

    Args:
        settings: The image's settings.
        project: The project's folder.
        store: The record of runs and images.
        environment: The name of the Pixi environment; None to use the environment in the settings.
        against: A function that returns the older lock file; None to compare with the lock file of the last build.

    Raises:
        EnvironmentFileError: An environment file cannot be read.
        DefinitionError: A file is missing.
    """
    report = _source(settings, project, store, environment, against)
    found = freshness(settings, project, store, learn=False)
    files = (
        Item(name=file.source.name, version="", kind="file", family="files", size=file.source.stat().st_size)
        for file in copied_files(settings, project)
    )
    built = store.latest_build(project, settings.name)
    same_image, same_environment = shared_with(built, store)
    return replace(
        report,
        image=settings.name,
        items=largest_first((*report.items, *files)),
        built=built,
        same_image=same_image,
        same_environment=same_environment,
        stale=None if found is None or found.notes else found.changes,
        notes=(*report.notes, *(found.notes if found else ())),
    )


def _source(
    settings: ImageSettings, project: Path, store: Store, environment: str | None, against: OlderThan | None
) -> SourceReport:
    def other(lock: Path) -> Older | None:
        return against(lock) if against else last_build(store, project, settings.name)

    match settings.source:
        case PixiSource() as source:
            folder = project / source.workspace
            is_default = environment in (None, source.environment)
            wanted = Wanted(
                environment=environment or source.environment,
                platform=source.platform if is_default else "",
                cuda=source.cuda,
                architecture=settings.architecture,
            )
            report = inspect_workspace(folder, wanted, against=other(folder / LOCK), project=project)
            base = settings.base or choose_base(load_bases(project), report.cuda)[0]
            return replace(report, base=base, final_base=settings.final_base or base)
        case SpackSource() as source:
            folder = project / source.environment
            report = inspect_spack(
                folder,
                target=source.target,
                against=other(folder / SPACK_LOCK),
                project=project,
                architecture=settings.architecture,
            )
            manifest = folder / SPACK_MANIFEST
            text = read_text(manifest, Boundary(project))
            base, final_base = bases(settings, read_environment(text, str(manifest)).container)
            return replace(report, base=base, final_base=final_base)
        case OciSource() as source:
            where = source.reference
            return SourceReport(source="oci", where=where, base=where, notes=(_IN_BASE,))
        case DockerfileSource() as source:
            return SourceReport(source="dockerfile", where=str(project / source.file), notes=(_IN_BUILD_OF_SETTINGS,))
        case DefinitionSource() as source:
            return inspect_definition(settings, source, project)


_IN_BASE = "there is no lock file for the content of this image; only the project's own files are counted here"
_IN_BUILD_OF_SETTINGS = (
    "the image's content depends on its steps, not on a lock file; only the project's own files are counted here"
)


DEFINITION = ".def"
"""Suffix of a definition file. Relative paths in such a file start at the working folder, as for ``apptainer build``."""

Describe = Callable[[str], PublishedReport]
"""A function that looks up an ``oras://`` reference in the image's registry."""


def inspect(
    target: str | None,
    project: Project,
    store: Store,
    describe: Describe,
    *,
    environment: str | None = None,
    against: str | None = None,
) -> list[Report]:
    """Return one report for each image that `target` means.

    If `target` is None, all images of the project are inspected. If the project has no images, the environment in the
    working folder is inspected.

    Raises:
        ConfigError: `target` cannot be inspected.
        EnvironmentFileError: An environment file cannot be read.
        DefinitionError: A definition is invalid.
        RegistryError: A registry query failed.
    """
    if target is None:
        if project.images:
            return [_image(name, project, store, environment, against) for name in project.images]
        return [_folder(Path(), environment, against)]
    if target in project.images:
        return [_image(target, project, store, environment, against)]
    if target.startswith("oras://"):
        _no_environment(target, environment, against)
        return [describe(target)]
    path = Path(target)
    if path.is_dir():
        return [_folder(path, environment, against)]
    if path.name in MANIFESTS or path.name in (MANIFEST, SPACK_LOCK):
        return [_folder(path.parent, environment, against)]
    if path.suffix == ".lock" and path.exists():
        other = older(against, path) if against else None
        return [inspect_lock(path, Wanted(environment=environment), against=other)]
    if path.suffix == DEFINITION and path.exists():
        _no_environment(target, environment, against)
        source = DefinitionSource(file=str(path))
        return [inspect_definition(ImageSettings(name=path.stem, source=source), source, Path(), named=True)]
    if path.exists():
        _no_environment(target, environment, against)
        return [inspect_image(path, store)]
    raise ConfigError(
        f"{target!r} is neither an image of this project ({nearest(target, tuple(project.images))}) nor a file or folder; "
        "expected an image, a folder with an environment, a pixi.lock, a .def, a .sif, or an oras:// reference"
    )


def _image(name: str, project: Project, store: Store, environment: str | None, against: str | None) -> Report:
    return inspect_settings(project.images[name], project.root, store, environment=environment, against=_chosen(against))


def _chosen(against: str | None) -> Callable[[Path], Older] | None:
    return None if against is None else lambda lock: older(against, lock)


def _folder(folder: Path, environment: str | None, against: str | None) -> Report:
    """Report on the environment in `folder`; a Pixi workspace has precedence over a Spack environment."""
    manifests, within = (folder / name for name in MANIFESTS), Boundary(folder)
    if any(path.exists() and is_manifest(read_text(path, within), str(path)) for path in manifests):
        wanted = Wanted(environment=environment)
        return inspect_workspace(folder, wanted, against=older(against, folder / LOCK) if against else None)
    if (folder / MANIFEST).exists():
        _no_environment(str(folder / MANIFEST), environment, None)
        return inspect_spack(folder, against=older(against, folder / SPACK_LOCK) if against else None)
    if (folder / LOCK).exists():
        wanted = Wanted(environment=environment)
        return inspect_lock(folder / LOCK, wanted, within=within, against=older(against, folder / LOCK) if against else None)
    raise ConfigError(
        f"{folder.absolute()} has nothing to inspect: expected a pixi.toml, a pyproject.toml with [tool.pixi], a "
        f"pixi.lock, a {MANIFEST}, or an hpcdeploy project with images. Use a folder, a file or an oras:// reference"
    )


def _no_environment(target: str, environment: str | None, against: str | None) -> None:
    for option, value in (("--environment", environment), ("--against", against)):
        if value is not None:
            raise ConfigError(f"{option} {value} does not apply to {target}, which has no Pixi environments; omit it")
