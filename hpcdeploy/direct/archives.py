"""Open the layers in an archive of ``docker save``, skopeo or podman."""

import tarfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self, cast

from hpcdeploy.checked_values import read_json
from hpcdeploy.environments.oci import read_manifest
from hpcdeploy.environments.oci_layers import LayerBlob, OciImage, image_behind, image_of
from hpcdeploy.errors import BuildError, EnvironmentFileError
from hpcdeploy.limits import LARGEST_DOCUMENT


class Archive:
    """An archive with one image. Use it as a context manager, and read its layers inside the block.

    Args:
        path: The archive.
        kind: Its format, ``oci-archive`` or ``docker-archive``.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind

    def __enter__(self) -> Self:
        try:
            with ExitStack() as opened:
                self._archive = opened.enter_context(tarfile.open(self._path))
                self._members = {member.name.removeprefix("./"): member for member in self._archive if not member.isdir()}
                opened.pop_all()  # `__exit__` closes the archive
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise BuildError(f"{self._path} cannot be read as a tar archive: {error}; create the archive again") from error
        return self

    def __exit__(self, *exc: object) -> None:
        self._archive.close()

    def image(self) -> OciImage:
        """Return the image.

        Raises:
            BuildError: The archive is malformed, or has no image for linux/amd64.
        """
        try:
            return self._oci() if self._kind == "oci-archive" else self._docker()
        except EnvironmentFileError as error:
            raise BuildError(f"{self._path} cannot be built on as {self._kind}: {error}") from error

    def opener(self, layer: LayerBlob) -> Callable[[], BinaryIO]:
        """Return a function that opens the archive of a layer.

        Raises:
            BuildError: The archive has no such layer.
        """
        name = layer.file or f"blobs/{layer.digest.replace(':', '/')}"
        member = self._members.get(name)
        if member is None:
            raise BuildError(f"{self._path} has no file {name[:200]!r}, which its image needs; create the archive again")
        return lambda: self._open(member)

    def _open(self, member: tarfile.TarInfo) -> BinaryIO:
        """Open a file of the archive. docker before 25 stores a layer that occurs twice as a link to its first file."""
        try:
            opened = self._archive.extractfile(member)
        except (KeyError, tarfile.TarError) as error:
            raise BuildError(f"{self._path} has a broken link {member.name[:200]!r}; create the archive again") from error
        if opened is None:
            raise BuildError(f"{self._path} has no content for {member.name[:200]!r}; create the archive again")
        return cast("BinaryIO", opened)

    def _oci(self) -> OciImage:
        listed = read_manifest(self._read("index.json"))
        if not isinstance(listed, tuple) or len(listed) != 1:
            raise EnvironmentFileError("its index.json does not list exactly one image")
        return image_behind(self._blob(listed[0].digest), self._blob, self._blob)

    def _docker(self) -> OciImage:
        try:
            [entry] = cast("list[dict[str, object]]", read_json(self._read("manifest.json")))
            config, files = str(entry["Config"]), cast("list[str]", entry["Layers"])
            blobs = tuple(LayerBlob(digest="", size=0, diff_id="", file=str(file)) for file in files)
        except (ValueError, TypeError, KeyError) as error:
            raise EnvironmentFileError("its manifest.json does not list one image in docker's format") from error
        return image_of(self._read(config), blobs)

    def _blob(self, digest: str) -> bytes:
        return self._read(f"blobs/{digest.replace(':', '/')}")

    def _read(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None or member.size > LARGEST_DOCUMENT:
            raise EnvironmentFileError(f"it has no file {name[:200]!r} of at most {LARGEST_DOCUMENT} bytes")
        with self._open(member) as opened:
            return opened.read(LARGEST_DOCUMENT)
