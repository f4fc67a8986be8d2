"""Prepare an image that starts from an existing one, in a registry or an archive: read its configuration and pin it."""

from pathlib import Path

from hpcdeploy.definition.oci import ARCHIVES, STAGED_ARCHIVE, OciRecipe, notes_of, oci_arguments, render_oci
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.image_archive import read_archive
from hpcdeploy.flows.sources.staging import copied_files, project_file
from hpcdeploy.image import ContextFile
from hpcdeploy.known_files import document_of
from hpcdeploy.registry.reference import parse_image
from hpcdeploy.source import OciConfig, OciSource


def prepare(request: Request[OciSource]) -> Prepared:
    """Make the definition of an image that starts from another one.

    An image in a registry is queried now, and the definition refers to its digest, so that a moved tag has no effect.

    Raises:
        EnvironmentFileError: An archive is malformed.
        RegistryError: The query failed.
    """
    kind, _, file = request.source.reference.partition(":")
    files, recipe = _archive(request, kind, file) if kind in ARCHIVES else ([], _registry(request))
    return Prepared(
        text=render_oci(recipe, overrides=request.project),
        files=(*files, *copied_files(request.settings, request.project)),
        arguments=oci_arguments(request.settings),
        notes=notes_of(recipe.config, request.settings),
    )


def _archive(request: Request[OciSource], kind: str, file: str) -> tuple[list[ContextFile], OciRecipe]:
    staged = project_file(request.project, file, STAGED_ARCHIVE, "'oci'")
    values = document_of(f"{kind} {staged.sha256}", lambda: read_archive(Path(staged.source), kind).values())
    config = OciConfig.of(values)
    return [staged], OciRecipe(settings=request.settings, config=config, base=(kind, STAGED_ARCHIVE))


def _registry(request: Request[OciSource]) -> OciRecipe:
    parsed = parse_image(request.source.reference)
    image = str(parsed).removeprefix("docker://")
    config = request.image_config(image)
    base = ("docker", f"{parsed.repository}@{config.digest}")
    return OciRecipe(settings=request.settings, config=config, base=base, image=image)
