"""Write a SIF: a header, a table of descriptors, the definition, metadata, and one squashfs partition.

The layout is the one that Apptainer 1.4 writes. Sources: ``pkg/sif`` of github.com/apptainer/sif (create.go, descriptor.go),
and a comparison with files of Apptainer 1.4.5 (tests/direct). Equal arguments give equal bytes.
"""

import hashlib
import os
import shutil
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.frozen import frozen

_LAUNCH = b"#!/usr/bin/env run-singularity\n"
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?3I7q128s384s")
_DESCRIPTORS, _TABLE, _CONTENT = 48, 4096, 32176
_GROUP = 0xF0000001
_DEFINITION, _PARTITION, _JSON = 0x4001, 0x4004, 0x4006
_SQUASHFS, _PRIMARY = 1, 2
_AMD64 = b"02\0"
_USED = 1
_ALIGNMENT = 4096
"""Partitions start at a multiple of the page size, because the kernel maps them."""


@frozen
class JsonObject:
    """A JSON object of a SIF, such as ``inspect-metadata.json``."""

    name: str
    content: bytes


def write_sif(
    out: BinaryIO, partition: Path, *, definition: bytes, objects: Sequence[JsonObject], key: str, time: int
) -> None:
    """Write a SIF for amd64 whose primary partition is the squashfs file `partition`.

    Args:
        out: The new file, open for writing at its beginning.
        partition: The squashfs file.
        definition: The text of the definition.
        objects: The JSON objects, in the order in which they are stored.
        key: The build's key. The UUID of the image is derived from it.
        time: The time in the header and the descriptors, in seconds since 1970.

    Raises:
        OSError: A file cannot be read or written.
    """
    parts = [(_DEFINITION, "", definition), *((_JSON, one.name, one.content) for one in objects)]
    offset, table = _CONTENT, b""
    for number, (kind, name, content) in enumerate(parts, 1):
        table += _descriptor(number, kind, (offset, len(content), len(content)), time, name)
        offset += len(content)
    start = -(-offset // _ALIGNMENT) * _ALIGNMENT
    size = partition.stat().st_size
    extra = struct.pack("<ii3s", _SQUASHFS, _PRIMARY, _AMD64)
    table += _descriptor(len(parts) + 1, _PARTITION, (start, size, start - offset + size), time, "", extra)
    used = len(parts) + 1
    header = _HEADER.pack(
        *(_LAUNCH, b"SIF_MAGIC", b"01", _AMD64, _uuid(key).bytes, time, time),
        *(_DESCRIPTORS - used, _DESCRIPTORS, _TABLE, _DESCRIPTORS * _DESCRIPTOR.size, _CONTENT, start + size - _CONTENT),
    )
    out.write(header.ljust(_TABLE, b"\0") + table.ljust(_CONTENT - _TABLE, b"\0"))
    for _, _, content in parts:
        out.write(content)
    out.write(b"\0" * (start - offset))
    with partition.open("rb") as source:
        shutil.copyfileobj(source, out, 1 << 20)
    out.flush()
    os.fsync(out.fileno())


def _descriptor(number: int, kind: int, place: tuple[int, int, int], time: int, name: str, extra: bytes = b"") -> bytes:
    """Return a descriptor; `place` is the offset, the size, and the size with padding, in bytes."""
    owner = (0, 0)
    return _DESCRIPTOR.pack(kind, _USED, number, _GROUP, 0, *place, time, time, *owner, name.encode(), extra)


def _uuid(key: str) -> uuid.UUID:
    """Return a UUID of version 8, whose content an application defines (RFC 9562, section 5.8), from a key."""
    digest = bytearray(hashlib.sha256(f"hpcdeploy image {key}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(digest))
