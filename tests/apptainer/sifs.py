"""Image files made for tests, byte by byte, by the same public description of the format that the reader follows."""

import struct
from dataclasses import dataclass

TABLE = 4096
DATA = 32768
DEFINITION, LABELS, PARTITION, SIGNATURE, JSON = 0x4001, 0x4003, 0x4004, 0x4005, 0x4006
GROUP = 0xF0000000


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object of the file; ``at`` and ``said_size`` are lies about its place, where they are given."""

    kind: int
    content: bytes
    name: str = ""
    group: int = 1
    link: int = 0
    extra: bytes = b""
    at: int | None = None
    said_size: int | None = None


def partition(content: bytes, *, system: int = 1, part: int = 2, architecture: bytes = b"02\0") -> Part:
    return Part(kind=PARTITION, content=content, extra=struct.pack("<ii3s", system, part, architecture))


def signature(fingerprint: bytes, *, group: int = 1) -> Part:
    return Part(kind=SIGNATURE, content=b"signed", link=GROUP | group, extra=struct.pack("<i256s", 1, fingerprint))


def squashfs(compression: int = 6) -> bytes:
    return struct.pack("<4s4IH", b"hsqs", 1, 0, 131072, 0, compression).ljust(4096, b"\0")


def sif(
    *parts: Part,
    magic: bytes = b"SIF_MAGIC\0",
    version: bytes = b"01\0",
    total: int = 48,
    table: int = TABLE,
    created: int = 1_700_000_000,
    architecture: bytes = b"02\0",
) -> bytes:
    """Write an image file of `parts`; the other arguments are what its header says."""
    descriptors, data = b"", b""
    for number, part in enumerate(parts, 1):
        place = DATA + len(data) if part.at is None else part.at
        size = len(part.content) if part.said_size is None else part.said_size
        numbers = (part.kind, True, number, GROUP | part.group, part.link, place, size, size, created, created, 0, 0)
        descriptors += struct.pack("<i?3I7q128s384s", *numbers, part.name.encode(), part.extra)
        data += part.content
    head = struct.pack(
        "<32s10s3s3s16s8q",
        b"#!/usr/bin/env run-singularity\n",
        magic,
        version,
        architecture,
        bytes(range(16)),
        created,
        created,
        48 - len(parts),
        total,
        table,
        48 * 585,
        DATA,
        len(data),
    )
    return head.ljust(TABLE, b"\0") + descriptors.ljust(DATA - TABLE, b"\0") + data
