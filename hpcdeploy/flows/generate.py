"""Make a definition, with everything that its build needs, from an image's settings and the project's files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.architecture import AMD64
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.code import code_of, why_baked
from hpcdeploy.definition.guard import argument
from hpcdeploy.definition.parts import with_mount_point
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources.contract import Prepared, Request, S, no_registry
from hpcdeploy.generated_file import Writings, is_generated, write_generated
from hpcdeploy.image import COMPRESSIONS, ContextFile, Definition, FileCopy, ImageSettings
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.source import DefinitionSource, DockerfileSource, ImageConfigOf, OciConfig, OciSource, PixiSource, SpackSource

if TYPE_CHECKING:
    from hpcdeploy.definition.docker_text import DockerText


def generate(
    settings: ImageSettings,
    project: Path,
    *,
    image_config: ImageConfigOf = no_registry,
    build_args: Sequence[tuple[str, str]] = (),
    named: bool = False,
) -> Definition:
    """Make the definition of one image of the project in the folder `project`. Nothing is written.

    Args:
        settings: The image's settings.
        project: The project's folder.
        image_config: Returns the configuration of an image in a registry. Called only if the definition depends on it.
        build_args: Build arguments from the command. If a name occurs several times, its last value is used. Some build
            arguments change how the environment's files are read.
        named: Whether the user named the definition file in the command, so that the file may be outside the project.

    Raises:
        EnvironmentFileError: An environment file cannot be read.
        DefinitionError: The definition is invalid, or a build argument is unknown.
        RegistryError: `image_config` failed.
    """
    # A generated definition already contains the settings' build arguments. A definition that the user wrote stays
    # unchanged, so they are passed to its build instead.
    of_settings = settings.build_args if isinstance(settings.source, DefinitionSource) else ()
    all_args = dict(argument(name, value) for name, value in (*of_settings, *build_args))
    configs: dict[str, OciConfig] = {}

    def query(reference: str) -> OciConfig:
        configs[reference] = image_config(reference)
        return configs[reference]

    prepared = _prepare(settings, project, all_args, query, named=named)
    _check_known(all_args, prepared.arguments, settings.name)
    steps = (name for step in settings.setup for name in step.secrets)
    secrets = tuple(dict.fromkeys((*prepared.secrets, *steps)))
    text = with_mount_point(prepared.text) if secrets else prepared.text
    stages = check_definition(text, all_args)
    return Definition(
        name=settings.name,
        text=text,
        files=prepared.files,
        build_args=tuple(all_args.items()),
        inputs=_inputs(text, prepared.files, all_args, settings),
        secrets=secrets,
        base=stages[-1].header.get("from", ""),
        notes=prepared.notes,
        given=tuple(build_args),
        asked=tuple(configs.items()),
        code=code_of(settings),
        why_baked=why_baked(settings, prepared.files, project),
        # A definition that the user wrote is built for the building machine, unless its settings name a platform.
        architecture=settings.platform if isinstance(settings.source, DefinitionSource) else settings.architecture,
        compression=COMPRESSIONS[settings.compression],
    )


def _prepare(
    settings: ImageSettings, project: Path, all_args: Mapping[str, str], image_config: ImageConfigOf, *, named: bool
) -> Prepared:
    def request(source: S) -> Request[S]:
        return Request(
            settings=settings, source=source, project=project, build_args=all_args, image_config=image_config, named=named
        )

    # Only the needed module is imported. The import of all of them took 50 ms in each submission, because a submission
    # checks whether its image is up to date.
    match settings.source:
        case PixiSource() as source:
            from hpcdeploy.flows.sources import pixi

            return pixi.prepare(request(source))
        case SpackSource() as source:
            from hpcdeploy.flows.sources import spack

            return spack.prepare(request(source))
        case OciSource() as source:
            from hpcdeploy.flows.sources import oci

            return oci.prepare(request(source))
        case DefinitionSource() as source:
            from hpcdeploy.flows.sources import definition

            return definition.prepare(request(source))
        case DockerfileSource() as source:
            from hpcdeploy.flows.sources import dockerfile

            return dockerfile.prepare(request(source))


def _check_known(given: Mapping[str, str], known: Mapping[str, str], image: str) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise DefinitionError(
            f"the build argument {unknown[0]!r} is unknown to the image {image!r}; "
            f"known are {', '.join(sorted(known)) or 'none'}, and the image's 'build-args' can define more"
        )


def _inputs(text: str, files: Sequence[ContextFile], build_args: Mapping[str, str], settings: ImageSettings) -> str:
    listed = sorted((file.staged, file.mode, file.sha256) for file in files)
    values: dict[str, object] = {"definition": text, "files": listed, "build_args": dict(build_args)}
    # Defaults are not among the values, because builds of earlier releases would have other inputs.
    if settings.architecture != AMD64:
        values["platform"] = settings.architecture.platform
    if settings.compression != "zstd":
        values["compression"] = settings.compression
    text_of_all = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text_of_all.encode()).hexdigest()


def dockerfile_of(
    settings: ImageSettings,
    project: Path,
    *,
    image_config: ImageConfigOf = no_registry,
    build_args: Sequence[tuple[str, str]] = (),
) -> "DockerText":
    """Make the Dockerfile of one image of the project in the folder `project`, which is the build context.

    Args:
        settings: The image's settings.
        project: The project's folder.
        image_config: Returns the configuration of an image in a registry. Called only if the Dockerfile depends on it.
        build_args: Build arguments from the command. If a name occurs several times, its last value is used.

    Raises:
        DefinitionError: The image is not made from an environment, a build argument is unknown, or a Dockerfile cannot
            express the image.
        EnvironmentFileError: An environment file is missing, malformed, or outside the project.
        TemplateError: A template is broken.
        RegistryError: `image_config` failed.
    """
    given = dict(argument(name, value) for name, value in build_args)
    # The values are written into the Dockerfile: as defaults of ARG, and into the steps of 'setup'.
    own = tuple((name, given.get(name, value)) for name, value in settings.build_args)

    def request(source: S) -> Request[S]:
        return Request(
            settings=replace(settings, build_args=own, files=_context_files(settings, project)),
            source=source,
            project=project,
            build_args=given,
            image_config=image_config,
        )

    match settings.source:
        case PixiSource() as source:
            return _pixi_dockerfile(request(source))
        case SpackSource() as source:
            return _spack_dockerfile(request(source))
        case OciSource() | DockerfileSource() | DefinitionSource():
            raise DefinitionError(
                f"the image {settings.name!r} is made from neither a Pixi workspace nor a Spack environment, so it has no "
                "generated Dockerfile; use the format 'definition'"
            )


def _pixi_dockerfile(request: "Request[PixiSource]") -> "DockerText":
    from hpcdeploy.definition.pixi import pixi_arguments
    from hpcdeploy.definition.pixi_dockerfile import render_pixi_dockerfile
    from hpcdeploy.flows.sources.local_packages import NOT_SOURCE
    from hpcdeploy.flows.sources.pixi import recipe_and_notes
    from hpcdeploy.flows.sources.staging import LEFT_OUT

    recipe, chosen = recipe_and_notes(request)
    _check_known(request.build_args, pixi_arguments(recipe), request.settings.name)
    text = render_pixi_dockerfile(
        recipe,
        workspace=request.source.workspace,
        left_out=tuple(NOT_SOURCE if recipe.own else LEFT_OUT),
        overrides=request.project,
    )
    return replace(text, notes=(*chosen, *text.notes))


def _spack_dockerfile(request: "Request[SpackSource]") -> "DockerText":
    from hpcdeploy.definition.spack import spack_arguments
    from hpcdeploy.definition.spack_dockerfile import render_spack_dockerfile
    from hpcdeploy.flows.sources.docker_context import context_place
    from hpcdeploy.flows.sources.spack import recipe_and_notes
    from hpcdeploy.flows.sources.staging import LEFT_OUT

    ready = recipe_and_notes(request)
    _check_known(request.build_args, spack_arguments(ready.recipe), request.settings.name)
    places = {one.destination: context_place(request.project, one.source, one.files) for one in ready.all_shipped}
    text = render_spack_dockerfile(ready.recipe, places, left_out=tuple(LEFT_OUT), overrides=request.project)
    return replace(text, notes=(*ready.notes, *text.notes))


def _context_files(settings: ImageSettings, project: Path) -> tuple[FileCopy, ...]:
    """Return the setting ``files`` with the paths in the build context of a Dockerfile."""
    from hpcdeploy.flows.sources.docker_context import context_place
    from hpcdeploy.flows.sources.staging import folder_files

    return tuple(
        replace(one, source=context_place(project, project / one.source, folder_files(project, one.source, "", "'files'")))
        for one in settings.files
    )


def write_dockerfile(
    text: "DockerText", target: Path, project: Path, *, force: bool = False, record: Writings | None = None
) -> tuple[Path, Path]:
    """Write the Dockerfile to `target`, and its ignore file; return both paths.

    If `target` is the project's ``Dockerfile``, its ignore file is the project's ``.dockerignore``. If the user wrote a
    ``.dockerignore``, or if `target` is another file, the ignore file is ``NAME.dockerignore`` in the folder of `target`.
    Docker prefers that file over ``.dockerignore`` (Docker documentation, "Build context", section ".dockerignore files").

    Raises:
        ConfigError: A file exists, hpcdeploy did not write that file, and `force` is not set.
        OSError: A file cannot be written.
    """
    common = project / ".dockerignore"
    ours = not common.exists() or _is_ours(common)
    is_main = target.resolve() == (project / "Dockerfile").resolve()
    ignore = common if is_main and ours else target.with_name(f"{target.name}.dockerignore")
    write_generated({ignore: text.ignore, target: text.dockerfile}, force=force, record=record)
    return target, ignore


def _is_ours(ignore: Path) -> bool:
    """Tell whether hpcdeploy wrote a ``.dockerignore``."""
    try:
        return is_generated(read_regular(ignore, LARGEST_TEXT))
    except UnsuitableFileError:
        return False
