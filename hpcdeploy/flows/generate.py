"""From an image's settings and the project's files to a definition with all that a build of it needs. Nothing is written."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.guard import argument
from hpcdeploy.definition.secrets import with_mount_point
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources import definition, dockerfile, oci, pixi, spack
from hpcdeploy.flows.sources.contract import Prepared, Request, S, no_registry
from hpcdeploy.image import ContextFile, Definition, ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, ImageConfigOf, OciConfig, OciSource, PixiSource, SpackSource


def generate(
    settings: ImageSettings,
    project: Path,
    *,
    image_config: ImageConfigOf = no_registry,
    build_args: Sequence[tuple[str, str]] = (),
    named: bool = False,
) -> Definition:
    """Make the definition of one image of the project in the folder `project`.

    `build_args` are given for this build (the last of a name wins); some change what is read from the environment's files
    too. `image_config` asks a registry, and only where an image must be known before a build. `named`: the person named the
    definition file in the command, so it may lie outside of the project. Raises `EnvironmentFileError`, `DefinitionError`,
    and what `image_config` raises.
    """
    # A definition that somebody wrote stays as it is, so the settings' own arguments are given to the build.
    own = settings.build_args if isinstance(settings.source, DefinitionSource) else ()
    given = dict(argument(name, value) for name, value in (*own, *build_args))
    asked: dict[str, OciConfig] = {}

    def ask(reference: str) -> OciConfig:
        asked[reference] = image_config(reference)
        return asked[reference]

    prepared = _prepare(settings, project, given, ask, named=named)
    unknown = [name for name in given if name not in prepared.arguments]
    if unknown:
        raise DefinitionError(
            f"the build argument {unknown[0]!r} is not known to the image {settings.name!r}; "
            f"known are {', '.join(sorted(prepared.arguments)) or 'none'}, and more can be named in its 'build-args'"
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
        inputs=_inputs(text, prepared.files, given),
        secrets=secrets,
        base=stages[-1].header.get("from", ""),
        notes=prepared.notes,
        given=tuple(build_args),
        asked=tuple(asked.items()),
    )


def _prepare(
    settings: ImageSettings, project: Path, given: Mapping[str, str], image_config: ImageConfigOf, *, named: bool
) -> Prepared:
    def request(source: S) -> Request[S]:
        return Request(
            settings=settings, source=source, project=project, build_args=given, image_config=image_config, named=named
        )

    match settings.source:
        case PixiSource() as source:
            return pixi.prepare(request(source))
        case SpackSource() as source:
            return spack.prepare(request(source))
        case OciSource() as source:
            return oci.prepare(request(source))
        case DefinitionSource() as source:
            return definition.prepare(request(source))
        case DockerfileSource() as source:
            return dockerfile.prepare(request(source))


def _inputs(text: str, files: Sequence[ContextFile], build_args: Mapping[str, str]) -> str:
    listed = sorted((file.staged, file.mode, file.sha256) for file in files)
    whole = json.dumps({"definition": text, "files": listed, "build_args": dict(build_args)}, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()
