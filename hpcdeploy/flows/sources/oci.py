"""Prepare an image that starts from another image: from a registry, or from an archive.

An archive has one of two formats, or both (``docker save`` of current releases writes both):

- ``oci-archive``: OCI Image Format Specification 1.1, image-layout
- ``docker-archive``: moby, ``image/tarexport`` (manifest.json)
"""

import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.checked_values import read_json
from hpcdeploy.definition.oci import ARCHIVES, STAGED_ARCHIVE, OciRecipe, notes_of, oci_arguments, render_oci
from hpcdeploy.environments.oci import config_behind, read_config, read_manifest
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.staging import copied_files, project_file
from hpcdeploy.image import ContextFile
from hpcdeploy.known_files import document_of
from hpcdeploy.limits import LARGEST_DOCUMENT
from hpcdeploy.registry.reference import parse_image
from hpcdeploy.source import OciConfig, OciSource

_LISTS = {"oci-archive": "index.json", "docker-archive": "manifest.json"}


def read_archive(path: Path, kind: str, architecture: Architecture = AMD64) -> OciConfig:
    """Read the configuration of the image in an archive.

    Args:
        path: The archive.
        kind: Its format, ``oci-archive`` or ``docker-archive``.
        architecture: The architecture of the image.

    Raises:
        EnvironmentFileError: The archive is malformed, or does not have exactly one image for `architecture`.
    """
    try:
        with tarfile.open(path) as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
            config = (_oci if kind == "oci-archive" else _docker)(_Documents(archive, members), architecture)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise EnvironmentFileError(
            f"{path} cannot be read as a tar archive: {reason}; create the archive again, uncompressed or with gzip"
        ) from error
    except EnvironmentFileError as error:
        raise EnvironmentFileError(f"{path} cannot be built on as {kind}: {error}") from error
    return replace(config, digest="")


class _Documents:
    """The JSON documents in an archive, read by name or digest, up to `LARGEST_DOCUMENT` bytes each."""

    def __init__(self, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> None:
        self.archive = archive
        self.members = members

    def read(self, name: str) -> bytes:
        member = self.members.get(name)
        if member is None:
            other = next((kind for kind, file in _LISTS.items() if file in self.members and file != name), "")
            advice = f"; it looks like {other}:FILE" if name in _LISTS.values() and other else ""
            raise EnvironmentFileError(f"it has no file {name}{advice}")
        if member.size > LARGEST_DOCUMENT:
            raise EnvironmentFileError(f"its file {name} is larger than {LARGEST_DOCUMENT} bytes")
        file = self.archive.extractfile(member)
        return file.read() if file else b""

    def blob(self, digest: str) -> bytes:
        return self.read(f"blobs/{digest.replace(':', '/')}")


def _oci(documents: _Documents, architecture: Architecture) -> OciConfig:
    listed = read_manifest(documents.read("index.json"))
    if not isinstance(listed, tuple) or len(listed) != 1:
        raise _not_one(len(listed) if isinstance(listed, tuple) else 0, "skopeo copy oci-archive:MANY:NAME oci-archive:FILE")
    return config_behind(documents.blob(listed[0].digest), documents.blob, documents.blob, architecture)


def _docker(documents: _Documents, architecture: Architecture) -> OciConfig:
    try:
        listed = read_json(documents.read("manifest.json"))
        [config] = [entry["Config"] for entry in listed] if len(listed) == 1 else [None]
    except (ValueError, TypeError, KeyError) as error:
        raise EnvironmentFileError("its manifest.json does not have docker's format; save the image again") from error
    if not isinstance(config, str):
        raise _not_one(len(listed), "docker save --output FILE IMAGE")
    return read_config(documents.read(config), architecture=architecture)


def _not_one(number: int, command: str) -> EnvironmentFileError:
    """Return the error for an archive that does not have exactly one image; `command` creates a right archive."""
    return EnvironmentFileError(f"it has {number} images; expected one: create an archive of one image: {command}")


def prepare(request: Request[OciSource]) -> Prepared:
    """Make the definition of an image that starts from another one.

    The digest of an image in a registry is queried now. The definition refers to this digest, so that a tag that is moved
    later has no effect.

    Raises:
        EnvironmentFileError: The archive is malformed.
        DefinitionError: A file is missing, or outside the project.
        RegistryError: The registry query failed.
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
    wanted = request.settings.architecture
    key = f"{kind} {staged.sha256}" if wanted == AMD64 else f"{kind} {wanted.name} {staged.sha256}"
    values = document_of(key, lambda: read_archive(Path(staged.source), kind, wanted).values())
    config = OciConfig.of(values)
    return [staged], OciRecipe(settings=request.settings, config=config, base=(kind, STAGED_ARCHIVE))


def _registry(request: Request[OciSource]) -> OciRecipe:
    parsed = parse_image(request.source.reference)
    image = str(parsed).removeprefix("docker://")
    config = request.image_config(image)
    base = ("docker", f"{parsed.repository}@{config.digest}")
    return OciRecipe(settings=request.settings, config=config, base=base, image=image)
