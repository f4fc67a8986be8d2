"""Make a definition, with everything that its build needs, from an image's settings and the project's files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.guard import argument
from hpcdeploy.definition.parts import with_mount_point
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources.contract import Prepared, Request, S, no_registry
from hpcdeploy.generated_file import is_generated, write_generated
from hpcdeploy.image import Compression, ContextFile, Definition, ImageSettings
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.source import DefinitionSource, DockerfileSource, ImageConfigOf, OciConfig, OciSource, PixiSource, SpackSource

if TYPE_CHECKING:
    from hpcdeploy.definition.pixi_dockerfile import DockerText


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
        named: The user named the definition file in the command, so that file may be outside the project.

    Raises:
        EnvironmentFileError: An environment file cannot be read.
        DefinitionError: The definition is invalid, or a build argument is unknown.
        RegistryError: `image_config` failed.
    """
    # A definition that the user wrote stays unchanged, so the build arguments of the settings are passed to the build.
    own = settings.build_args if isinstance(settings.source, DefinitionSource) else ()
    given = dict(argument(name, value) for name, value in (*own, *build_args))
    configs: dict[str, OciConfig] = {}

    def query(reference: str) -> OciConfig:
        configs[reference] = image_config(reference)
        return configs[reference]

    prepared = _prepare(settings, project, given, query, named=named)
    unknown = [name for name in given if name not in prepared.arguments]
    if unknown:
        raise DefinitionError(
            f"the build argument {unknown[0]!r} is unknown to the image {settings.name!r}; "
            f"known are {', '.join(sorted(prepared.arguments)) or 'none'}, and the image's 'build-args' can define more"
        )
    steps = (name for step in settings.setup for name in step.secrets)
    secrets = tuple(dict.fromkeys((*prepared.secrets, *steps)))
    text = with_mount_point(prepared.text) if secrets else prepared.text
    stages = check_definition(text, given)
    return Definition(
        name=settings.name,
        text=text,
        files=prepared.files,
        build_args=tuple(given.items()),
        inputs=_inputs(text, prepared.files, given, settings.compression),
        secrets=secrets,
        base=stages[-1].header.get("from", ""),
        notes=prepared.notes,
        given=tuple(build_args),
        asked=tuple(configs.items()),
        compression=settings.compression,
    )


def _prepare(
    settings: ImageSettings, project: Path, given: Mapping[str, str], image_config: ImageConfigOf, *, named: bool
) -> Prepared:
    def request(source: S) -> Request[S]:
        return Request(
            settings=settings, source=source, project=project, build_args=given, image_config=image_config, named=named
        )

    # Only the needed module is imported: all of them took 50 ms of a submission, which checks whether its image is up to
    # date.
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


def _inputs(text: str, files: Sequence[ContextFile], build_args: Mapping[str, str], compression: Compression) -> str:
    listed = sorted((file.staged, file.mode, file.sha256) for file in files)
    # The default is not part of the inputs, so that images of earlier versions keep theirs.
    chosen = {} if compression == "zstd" else {"compression": compression}
    text_of_all = json.dumps({"definition": text, "files": listed, "build_args": dict(build_args), **chosen}, sort_keys=True)
    return hashlib.sha256(text_of_all.encode()).hexdigest()


def dockerfile_of(
    settings: ImageSettings,
    project: Path,
    *,
    image_config: ImageConfigOf = no_registry,
    build_args: Sequence[tuple[str, str]] = (),
) -> "DockerText":
    """Make the Dockerfile of one image of the project in the folder `project`, which is the build context.

    Raises:
        DefinitionError: The image is not made from a Pixi workspace, or its preparation failed.
    """
    from hpcdeploy.definition.pixi_dockerfile import render_pixi_dockerfile
    from hpcdeploy.flows.sources.local_packages import NOT_SOURCE
    from hpcdeploy.flows.sources.pixi import answered
    from hpcdeploy.flows.sources.staging import LEFT_OUT

    if not isinstance(settings.source, PixiSource):
        raise DefinitionError(
            f"the image {settings.name!r} is not made from a Pixi workspace, which a Dockerfile requires; "
            "use the format 'definition'"
        )
    given = dict(argument(name, value) for name, value in build_args)
    request = Request(
        settings=settings, source=settings.source, project=project, build_args=given, image_config=image_config
    )
    recipe, chosen = answered(request)
    text = render_pixi_dockerfile(
        recipe,
        workspace=settings.source.workspace,
        left_out=tuple(NOT_SOURCE if recipe.own else LEFT_OUT),
        overrides=project,
    )
    return replace(text, notes=(*chosen, *text.notes))


def write_dockerfile(text: "DockerText", target: Path, project: Path, *, force: bool = False) -> tuple[Path, Path]:
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
    write_generated({ignore: text.ignore, target: text.dockerfile}, force=force)
    return target, ignore


def _is_ours(ignore: Path) -> bool:
    """Tell whether hpcdeploy wrote a ``.dockerignore``."""
    try:
        return is_generated(read_regular(ignore, LARGEST_TEXT))
    except UnsuitableFileError:
        return False
