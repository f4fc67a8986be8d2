"""What the one image of an archive says of itself: ``oci-archive`` (an OCI layout) and ``docker-archive`` (``docker save``).

Sources: OCI Image Format Specification 1.1 (image-layout); moby, ``image/tarexport`` (manifest.json). A current ``docker
save`` writes both into one file.
"""

import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

from hpcdeploy.environments.oci import config_behind, read_config, read_manifest
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.json_text import read_json
from hpcdeploy.limits import LARGEST_DOCUMENT
from hpcdeploy.source import OciConfig

_LISTS = {"oci-archive": "index.json", "docker-archive": "manifest.json"}


def read_archive(path: Path, kind: str) -> OciConfig:
    """Read the configuration of the image in the `kind` of archive (``oci-archive``, ``docker-archive``) at `path`.

    Raises `EnvironmentFileError` where it is none, holds several images, or none for linux/amd64.
    """
    try:
        with tarfile.open(path) as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
            config = (_oci if kind == "oci-archive" else _docker)(_Documents(archive, members))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise EnvironmentFileError(
            f"{path} cannot be read as a tar archive: {reason}; make the archive again, plain or packed by gzip"
        ) from error
    except EnvironmentFileError as error:
        raise EnvironmentFileError(f"{path} cannot be built on as {kind}: {error}") from error
    return replace(config, digest="")


class _Documents:
    """The small files of an archive."""

    def __init__(self, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> None:
        self.archive = archive
        self.members = members

    def read(self, name: str) -> bytes:
        member = self.members.get(name)
        if member is None:
            other = next((kind for kind, file in _LISTS.items() if file in self.members and file != name), "")
            advice = f"; it looks like {other}:FILE" if name in _LISTS.values() and other else ""
            raise EnvironmentFileError(f"it holds no file {name}{advice}")
        if member.size > LARGEST_DOCUMENT:
            raise EnvironmentFileError(f"its file {name} has more than {LARGEST_DOCUMENT} bytes, which no such file has")
        file = self.archive.extractfile(member)
        return file.read() if file else b""

    def blob(self, digest: str) -> bytes:
        return self.read(f"blobs/{digest.replace(':', '/')}")


def _oci(documents: _Documents) -> OciConfig:
    listed = read_manifest(documents.read("index.json"))
    if not isinstance(listed, tuple) or len(listed) != 1:
        raise _not_one(len(listed) if isinstance(listed, tuple) else 0, "skopeo copy oci-archive:MANY:NAME oci-archive:FILE")
    return config_behind(documents.blob(listed[0].digest), documents.blob, documents.blob)


def _docker(documents: _Documents) -> OciConfig:
    try:
        listed = read_json(documents.read("manifest.json"))
        [config] = [entry["Config"] for entry in listed] if len(listed) == 1 else [None]
    except (ValueError, TypeError, KeyError) as error:
        raise EnvironmentFileError("its manifest.json is not as docker writes it; save the image again") from error
    if not isinstance(config, str):
        raise _not_one(len(listed), "docker save --output FILE IMAGE")
    return read_config(documents.read(config))


def _not_one(number: int, command: str) -> EnvironmentFileError:
    return EnvironmentFileError(f"it holds {number} images, and one was expected; make an archive of that one: {command}")
