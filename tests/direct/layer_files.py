"""Layers of OCI images for tests, made in memory."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Sequence

import zstandard

from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.layers import TarLayer
from hpcdeploy.image import EPOCH

Member = tuple[tarfile.TarInfo, bytes]


def folder(name: str, mode: int = 0o755) -> Member:
    return _member(name, tarfile.DIRTYPE, mode=mode)


def file(name: str, content: bytes = b"", mode: int = 0o644, **more: object) -> Member:
    return _member(name, tarfile.REGTYPE, content, mode=mode, **more)


def link(name: str, target: str) -> Member:
    return _member(name, tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard(name: str, target: str) -> Member:
    return _member(name, tarfile.LNKTYPE, linkname=target)


def device(name: str) -> Member:
    return _member(name, tarfile.CHRTYPE, devmajor=1, devminor=3)


def _member(name: str, kind: bytes, content: bytes = b"", **values: object) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(content), 1_600_000_000
    for key, value in values.items():
        setattr(info, key, value)
    return info, content


def tar(members: Sequence[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def layer(*members: Member, packed: str = "gzip", diff_id: str | None = None) -> TarLayer:
    plain = tar(members)
    blob = gzip.compress(plain) if packed == "gzip" else zstandard.compress(plain) if packed == "zstd" else plain
    return TarLayer(lambda: io.BytesIO(blob), "the layer of a test", diff_id=digest(plain) if diff_id is None else diff_id)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def written(flattened: Flattened) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Return the entries of the stream that sqfstar would get, by path, with the content of files."""
    out = io.BytesIO()
    flattened.write(out, time=EPOCH)
    out.seek(0)
    found = {}
    with tarfile.open(fileobj=out) as archive:
        for info in archive:
            opened = archive.extractfile(info) if info.isreg() or info.islnk() else None
            found[info.name.removeprefix("./")] = (info, opened.read() if opened else b"")
    return found
