"""Rewrite the header, the descriptors and the small objects of an image file (SIF), so that equal inputs give equal bytes.

Apptainer writes a random UUID, the time of the build, and the JSON objects in a random order (they are a Go map, in
internal/pkg/build/assemblers/sif.go). `normalised` replaces all of them by values that depend on the inputs only. `grown`
corrects the sizes after mksquashfs has appended to the file system.

The functions get the beginning of a file and return bytes to write; only `main` and what it calls touch files. Login nodes
run this file too (``login/append.sh``), so it needs Python 3.6 and the standard library only.

Source: ``pkg/sif`` of github.com/apptainer/sif (sif.go, create.go), and `hpcdeploy.apptainer.sif`, which only reads.
"""

import json
import os
import re
import struct
import sys
import time
from typing import List, Mapping, NamedTuple, Tuple

_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?3I7q128s384s")
_MAGIC = b"SIF_MAGIC\0"
_DEFINITION, _LABELS, _PARTITION, _SIGNATURE, _JSON = 0x4001, 0x4003, 0x4004, 0x4005, 0x4006
_PRIMARY_SQUASHFS = (1, 2)
_MOST_DESCRIPTORS = 1024
_ALIGNMENT = 4096
"""Apptainer aligns a file system to the page size of the machine; 4096 is the smallest."""

LONGEST_HEAD = 64 * 1024 * 1024
"""Maximum size in bytes of everything before the file system: the table and some texts."""

_DATE = "[A-Z][a-z]+_[0-9]{1,2}_[A-Z][a-z]+_[0-9]{4}_[0-9:]{1,8}_[A-Za-z0-9+-]{1,9}"
_DATE_LABELS = ('"org\\.label-schema\\.build-date":"', '"org\\.label-schema\\.build-date": "')
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


Rewrites = List[Tuple[str, str]]
"""Pairs of a regular expression and the text that replaces its matches."""


class UnfitSifError(ValueError):
    """The image has a layout that this module does not rewrite; the message tells why."""


class _Header(NamedTuple):
    launch: bytes
    magic: bytes
    version: bytes
    architecture: bytes
    uuid: bytes
    created: int
    modified: int
    free: int
    total: int
    table: int
    table_size: int
    data: int
    data_size: int


class Descriptor(NamedTuple):
    """The fields of a descriptor, in the order of the file and with the file's values."""

    kind: int
    used: bool
    id: int
    group: int
    link: int
    offset: int
    size: int
    padded: int
    created: int
    modified: int
    uid: int
    gid: int
    name: bytes
    extra: bytes


def build_date(epoch: int) -> str:
    """Return the label ``org.label-schema.build-date`` for a time in seconds since 1970, in Apptainer's format and UTC."""
    at = time.gmtime(epoch)
    day = f"{_DAYS[at.tm_wday]}_{at.tm_mday}_{_MONTHS[at.tm_mon - 1]}_{at.tm_year}"
    return f"{day}_{at.tm_hour}:{at.tm_min}:{at.tm_sec}_UTC"


def rewrites_of(epoch: int, addresses: "Mapping[str, str]") -> "Rewrites":
    """Return what to replace in the texts that Apptainer writes into an image.

    The time of the build becomes `epoch`. Each address of a mirror (a key of `addresses`) becomes the registry's address.
    """
    date = [(f'(?<={label}){_DATE}(?=")', build_date(epoch)) for label in _DATE_LABELS]
    mirrors = [
        (rf"(?<![A-Za-z0-9._/:@-]){re.escape(mirror)}(?![A-Za-z0-9._/:@-])", original)
        for mirror, original in addresses.items()
    ]
    return [*date, *mirrors]


def rewritten(text: bytes, rewrites: "Rewrites") -> bytes:
    """Return `text` with the replacements of `rewrites_of`."""
    for pattern, new in rewrites:
        text = re.sub(pattern.encode(), new.encode().replace(b"\\", b"\\\\"), text)
    return text


def table_end(head: bytes) -> int:
    """Return the end of the table of objects, in bytes from the beginning of the file.

    Raises:
        UnfitSifError: `head` does not begin with the header of a SIF.
    """
    header = _header(head)
    return header.table + header.total * _DESCRIPTOR.size


def partition_start(head: bytes, size: int) -> int:
    """Return the position of the only file system of an image.

    Args:
        head: The beginning of the file, up to `table_end`.
        size: The size of the file in bytes.

    Raises:
        UnfitSifError: The image is signed, or has another number of file systems, or an object follows the file system.
    """
    return _partition(head, size)[1].offset


def normalised(head: bytes, size: int, key: str, epoch: int, rewrites: Rewrites) -> "tuple[bytes, int]":
    """Return the new beginning of an image, up to its file system, and the earlier position of the file system.

    The new position of the file system is the length of the new beginning. It differs from the earlier one in rare cases,
    because the time of the build has a varying length as text.

    Args:
        head: The beginning of the file, up to the file system.
        size: The size of the file in bytes.
        key: The hex digits of a sha256 that names the content. The UUID of the image is derived from it.
        epoch: The time to write, in seconds since 1970.
        rewrites: See `rewrites_of`.

    Raises:
        UnfitSifError: The image has a layout that this function does not know.
    """
    header = _header(head)
    partition = _partition(head[: table_end(head)], size)[1]
    texts = []
    for _, each in _descriptors(head):
        if each.kind != _PARTITION:
            content = head[each.offset : each.offset + each.size]
            if each.kind in (_DEFINITION, _LABELS, _JSON):
                content = rewritten(content, rewrites)
            texts.append((each.kind, each.name, content, each))
    texts.sort(key=lambda text: text[:3])
    table = []  # type: list[Descriptor]
    body, place = b"", header.data
    for _, _, content, each in texts:
        table.append(each._replace(id=len(table) + 1, offset=place, size=len(content), padded=len(content)))
        body += content
        place += len(content)
    start = -(-place // _ALIGNMENT) * _ALIGNMENT
    table.append(partition._replace(id=len(table) + 1, offset=start, padded=partition.size + start - place))
    table = [each._replace(created=epoch, modified=epoch, uid=0, gid=0) for each in table]
    header = header._replace(
        uuid=identity(key),
        created=epoch,
        modified=epoch,
        free=header.total - len(table),
        data_size=start + partition.size - header.data,
    )
    new = _HEADER.pack(*header).ljust(header.table, b"\0") + b"".join(_DESCRIPTOR.pack(*each) for each in table)
    return (new.ljust(header.data, b"\0") + body).ljust(start, b"\0"), partition.offset


def grown(head: bytes, size: int, key: str) -> "list[tuple[int, bytes]]":
    """Return the bytes to write, each with its position, after the file system at the end of an image has grown.

    Args:
        head: The beginning of the file, up to `table_end`.
        size: The new size of the file in bytes.
        key: The hex digits of a sha256 that names the new content.

    Raises:
        UnfitSifError: The image has a layout that this function does not know.
    """
    header, (number, partition) = _header(head), _partition(head, size)
    length = size - partition.offset
    header = header._replace(uuid=identity(key), data_size=size - header.data)
    partition = partition._replace(size=length, padded=partition.padded - partition.size + length)
    return [(0, _HEADER.pack(*header)), (header.table + number * _DESCRIPTOR.size, _DESCRIPTOR.pack(*partition))]


def identity(key: str) -> bytes:
    """Return the 16 bytes of a UUID that is derived from a key of hex digits (RFC 9562, version 8: custom)."""
    raw = bytearray(bytes.fromhex(key)[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    return bytes(raw)


def _partition(head: bytes, size: int) -> "tuple[int, Descriptor]":
    found = _descriptors(head)
    partitions = [(number, each) for number, each in found if each.kind == _PARTITION]
    if any(each.kind == _SIGNATURE for _, each in found):
        raise UnfitSifError("the image is signed")
    if len(partitions) != 1:
        raise UnfitSifError(f"the image has {len(partitions)} file systems; expected one")
    number, one = partitions[0]
    if struct.unpack_from("<ii", one.extra) != _PRIMARY_SQUASHFS:
        raise UnfitSifError("the image's file system is not a primary squashfs")
    if not 0 < one.offset <= LONGEST_HEAD or one.size < 0 or one.offset + one.size > size:
        raise UnfitSifError(f"the image's file system has {one.size} bytes at {one.offset}, but the file has {size}")
    if any(each.size < 0 or not 0 <= each.offset <= one.offset - each.size for _, each in found if each is not one):
        raise UnfitSifError("an object of the image follows its file system")
    return number, one


def _header(head: bytes) -> _Header:
    if len(head) < _HEADER.size:
        raise UnfitSifError("the image has no complete header")
    header = _Header(*_HEADER.unpack_from(head))
    if header.magic != _MAGIC or not 0 < header.total <= _MOST_DESCRIPTORS:
        raise UnfitSifError("the image has no SIF header")
    end = header.table + header.total * _DESCRIPTOR.size
    if not _HEADER.size <= header.table < end <= header.data <= LONGEST_HEAD:
        raise UnfitSifError("the image has its table or its data at an unexpected position")
    return header


def _descriptors(head: bytes) -> "list[tuple[int, Descriptor]]":
    header = _header(head)
    table = head[header.table : header.table + header.total * _DESCRIPTOR.size]
    if len(table) < header.total * _DESCRIPTOR.size:
        raise UnfitSifError("the image ends in its table of objects")
    found = enumerate(Descriptor(*fields) for fields in _DESCRIPTOR.iter_unpack(table))
    return [(number, each) for number, each in found if each.used]


def read_head(file: int) -> "tuple[bytes, int, int]":
    """Return the beginning of an open image up to its table's end, the position of the file system, and the file's size."""
    size = os.fstat(file).st_size
    head = os.pread(file, table_end(os.pread(file, _HEADER.size, 0)), 0)
    return head, partition_start(head, size), size


def normalise(path: str, key: str, epoch: int, rewrites: Rewrites) -> None:
    """Rewrite an image that no other process uses. If its file system moves, the file is replaced by a new one.

    Raises:
        UnfitSifError: The image has a layout that `normalised` does not know.
        OSError: The image cannot be read or written.
    """
    file = os.open(path, os.O_RDWR)
    try:
        _, start, size = read_head(file)
        head, _ = normalised(os.pread(file, start, 0), size, key, epoch, rewrites)
        if len(head) == start:
            _write_all(file, head, 0)
            os.fsync(file)
            return
        moved = path + ".moved"
        target = os.open(moved, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        try:
            _write_all(target, head, 0)
            _copy(file, start, target, len(head))
            os.fsync(target)
            os.fchmod(target, os.fstat(file).st_mode & 0o777)
            os.rename(moved, path)
        except BaseException:
            os.unlink(moved)
            raise
        finally:
            os.close(target)
    finally:
        os.close(file)


def grow(path: str, key: str) -> None:
    """Correct the sizes in an image whose file system has grown. The arguments are those of `grown`."""
    file = os.open(path, os.O_RDWR)
    try:
        head, _, size = read_head(file)
        for place, data in grown(head, size, key):
            _write_all(file, data, place)
        os.fsync(file)
    finally:
        os.close(file)


def _copy(source: int, start: int, target: int, place: int) -> None:
    while True:
        data = os.pread(source, 1 << 20, start)
        if not data:
            return
        _write_all(target, data, place)
        start, place = start + len(data), place + len(data)


def _write_all(file: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


def main(action: str, path: str, *values: str) -> None:
    """Normalise or grow an image, or print the position of its file system."""
    if action == "start":
        file = os.open(path, os.O_RDONLY)
        sys.stdout.write(f"{read_head(file)[1]}\n")
    elif action == "grow":
        grow(path, values[0])
    else:
        normalise(path, values[0], int(values[1]), [(pattern, new) for pattern, new in json.loads(values[2])])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (UnfitSifError, OSError) as error:
        sys.exit(str(error))
