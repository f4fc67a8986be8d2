"""Read an image file (SIF) without Apptainer: the header, the table of objects, and the content of objects.

A SIF has a header, and a table with one descriptor per object. Both are little-endian structures without padding. The header
has the position of the table and the number of its descriptors (usually 48 from byte 4096 on). A file may be truncated or
may come from another person. So positions and sizes are checked against the size of the file.

Sources: ``pkg/sif`` of github.com/apptainer/sif (sif.go, descriptor.go, load.go, arch.go). For the superblock of a squashfs
file system: Linux, ``fs/squashfs/squashfs_fs.h``.
"""

import struct
import uuid
from collections.abc import Mapping
from typing import BinaryIO

from hpcdeploy.apptainer.sif_edit import Descriptor
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen

READ_LIMIT = 16 * 1024 * 1024
"""Maximum size in bytes of an object whose text is read. Definitions, labels and metadata usually have some kilobytes."""

HEAD = 48
"""Number of bytes at the beginning of an image that contain the architecture of its primary partition."""

_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?3I7q128s384s")
_PARTITION = struct.Struct("<ii3s")
_SIGNATURE = struct.Struct("<i256s")
_SUPERBLOCK = struct.Struct("<4s4IH")
_MAGIC = b"SIF_MAGIC\0"
_SQUASHFS_MAGIC = b"hsqs"
_NEWEST = "01"
_MOST_DESCRIPTORS = 65536
_GROUP = 0xF0000000
_FINGERPRINT = 20
"""Length in bytes of an OpenPGP key's fingerprint, which the descriptor of a signature contains."""

_KINDS: Mapping[int, str] = {
    0x4001: "definition", 0x4002: "environment", 0x4003: "labels", 0x4004: "partition", 0x4005: "signature",
    0x4006: "json", 0x4007: "data", 0x4008: "cryptographic message", 0x4009: "bill of materials",
    0x400A: "oci index", 0x400B: "oci blob",
}  # fmt: skip
_ARCHITECTURES: Mapping[str, str] = {
    "01": "386", "02": "amd64", "03": "arm", "04": "arm64", "05": "ppc64", "06": "ppc64le", "07": "mips", "08": "mipsle",
    "09": "mips64", "10": "mips64le", "11": "s390x", "12": "riscv64",
}  # fmt: skip
_FILE_SYSTEMS: Mapping[int, str] = {1: "squashfs", 2: "ext3", 3: "archive", 4: "raw", 5: "encrypted squashfs"}
_PART_TYPES: Mapping[int, str] = {1: "system", 2: "primary system", 3: "data", 4: "overlay"}
_HASHES: Mapping[int, str] = {1: "SHA-256", 2: "SHA-384", 3: "SHA-512", 4: "BLAKE2s", 5: "BLAKE2b"}
_COMPRESSIONS: Mapping[int, str] = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}


@frozen
class SifObject:
    """One object of an image.

    A number without a known name is shown as ``unknown (0x...)``. A text is empty if it does not apply to the object.

    Attributes:
        id: The number of the object, from 1.
        kind: The name of the object's type (`_KINDS`), such as ``definition`` or ``partition``.
        name: The name in the descriptor, such as ``inspect-metadata.json``.
        group: The number of the group to which the object belongs; 0 for none.
        link: The id of the object, or the number of the group, that a signature applies to; 0 for none.
        links_group: Whether `link` is the number of a group.
        offset: The position of the content in the file, in bytes.
        size: The size of the content in bytes.
        file_system: The file system of a partition, such as ``squashfs``.
        part_type: The purpose of a partition, such as ``primary system`` or ``overlay``.
        architecture: The processor architecture of a partition, with Go's name, such as ``amd64``.
        compression: The compression of a squashfs partition, such as ``gzip`` or ``zstd``.
        hash: The hash algorithm of a signature.
        signer: The fingerprint of the key of a signature, in hex digits.
    """

    id: int
    kind: str
    name: str
    group: int
    link: int
    links_group: bool
    offset: int
    size: int
    file_system: str = ""
    part_type: str = ""
    architecture: str = ""
    compression: str = ""
    hash: str = ""
    signer: str = ""


@frozen
class Sif:
    """An image file's header and objects.

    Attributes:
        version: The version of the SIF format, such as ``01``.
        architecture: The processor architecture of the primary partition, with Go's name; ``unknown`` for another one.
        id: The UUID of the image.
        created: The time of creation, in seconds since 1970; 0 if unknown.
        modified: The time of the last change, in seconds since 1970; 0 if unknown.
        size: The size of the file in bytes.
        objects: The objects in the order of the table.
    """

    version: str
    architecture: str
    id: str
    created: int
    modified: int
    size: int
    objects: tuple[SifObject, ...]

    @property
    def partitions(self) -> tuple[SifObject, ...]:
        """The file systems, in the order of the table of objects."""
        return tuple(item for item in self.objects if item.kind == "partition")

    @property
    def signatures(self) -> tuple[SifObject, ...]:
        """The signatures. They are not verified here; ``apptainer verify`` verifies them."""
        return tuple(item for item in self.objects if item.kind == "signature")


def read_sif(file: BinaryIO, name: str) -> Sif:
    """Read the header and the table of objects of an open image; `name` is the image in messages.

    Raises:
        ConfigError: The file is not a SIF, has a newer version of the format, is truncated, or has contradictory values.
        OSError: The file cannot be read.
    """
    size = file.seek(0, 2)
    head = _read(file, 0, min(size, _HEADER.size))
    if head[32:42] != _MAGIC:
        raise ConfigError(f"{name} is not an Apptainer image (no SIF header): expected a .sif file")
    if len(head) < _HEADER.size:
        raise _damaged(name, f"its header ends after {len(head)} bytes")
    _, _, version, architecture, number, created, modified, _, total, offset, *_ = _HEADER.unpack(head)
    if _text(version) > _NEWEST:
        raise ConfigError(
            f"{name} is a SIF of version {_text(version)}; expected at most version {_NEWEST}: upgrade hpcdeploy"
        )
    if not 0 <= total <= _MOST_DESCRIPTORS or offset < 0 or offset + total * _DESCRIPTOR.size > size:
        raise _damaged(name, f"its table of {total} objects at byte {offset} does not fit into the file of {size} bytes")
    table = _read(file, offset, total * _DESCRIPTOR.size)
    if len(table) < total * _DESCRIPTOR.size:  # `contents.read_head` has only the beginning of the file
        raise _damaged(
            name, f"its table of {total} objects at byte {offset} is not among the {offset + len(table)} bytes read"
        )
    raw = (Descriptor(*fields) for fields in _DESCRIPTOR.iter_unpack(table))
    objects = tuple(_object(file, each, size, name) for each in raw if each.used)
    return Sif(
        version=_text(version),
        architecture=_architecture(architecture),
        id=str(uuid.UUID(bytes=number)),
        created=created,
        modified=modified,
        size=size,
        objects=objects,
    )


def architecture_in(head: bytes) -> str:
    """Return the architecture in the first `HEAD` bytes of an image, such as ``arm64``; empty if it is unknown or no SIF."""
    if len(head) < HEAD or head[32:42] != _MAGIC:
        return ""
    return _ARCHITECTURES.get(_text(head[45:HEAD]), "")


def read_object(file: BinaryIO, item: SifObject, name: str) -> bytes:
    """Return the content of an object. If the file ends inside the object, the result is shorter than its size.

    Raises:
        ConfigError: The object is larger than `READ_LIMIT`.
        OSError: The file cannot be read.
    """
    if item.size > READ_LIMIT:
        raise _damaged(name, f"its object {item.id} ({item.kind}) has {item.size} bytes; a short text was expected")
    return _read(file, item.offset, item.size)


def _object(file: BinaryIO, raw: "Descriptor", size: int, name: str) -> SifObject:
    kind = _known(_KINDS, raw.kind)
    if raw.offset < 0 or raw.size < 0 or raw.offset + raw.size > size:
        raise _damaged(
            name,
            f"object {raw.id} ({kind}) claims {raw.size} bytes at offset {raw.offset}, but the file ends at {size}",
        )
    return SifObject(
        id=raw.id,
        kind=kind,
        name=_text(raw.name),
        group=raw.group & ~_GROUP,
        link=raw.link & ~_GROUP,
        links_group=raw.link & _GROUP == _GROUP,
        offset=raw.offset,
        size=raw.size,
        **_details(file, kind, raw),
    )


def _details(file: BinaryIO, kind: str, raw: "Descriptor") -> dict[str, str]:
    if kind == "partition":
        system, part, architecture = _PARTITION.unpack_from(raw.extra)
        file_system = _known(_FILE_SYSTEMS, system)
        return {
            "file_system": file_system,
            "part_type": _known(_PART_TYPES, part),
            "architecture": _architecture(architecture),
            "compression": _compression(file, raw) if file_system == "squashfs" else "",
        }
    if kind == "signature":
        number, signer = _SIGNATURE.unpack_from(raw.extra)
        return {"hash": _known(_HASHES, number), "signer": signer[:_FINGERPRINT].hex() if any(signer) else ""}
    return {}


def _compression(file: BinaryIO, raw: "Descriptor") -> str:
    head = _read(file, raw.offset, min(raw.size, _SUPERBLOCK.size))
    if len(head) < _SUPERBLOCK.size or not head.startswith(_SQUASHFS_MAGIC):
        return ""
    return _known(_COMPRESSIONS, _SUPERBLOCK.unpack(head)[-1])


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _known(names: Mapping[int, str], number: int) -> str:
    return names.get(number, f"unknown ({number:#x})")


def _architecture(code: bytes) -> str:
    return _ARCHITECTURES.get(_text(code), "unknown")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _damaged(name: str, reason: str) -> ConfigError:
    return ConfigError(f"{name} is damaged: {reason}; build it again, or fetch it again")
