# --- login/receive.py: receive records of a file that is uploaded in parallel. records.sh runs it, receive.sh does the rest.
"""Write records from standard input into a partial file, and list them in a journal.

A record consists of an offset (8 bytes), a length (4), the sha256 (32) and the content. Several processes write into one
file. Each prints the ranges that it has written. The first process, for which records.sh holds the lock, first prints the
ranges that earlier calls have written.

This needs Python 3.6 or later, and only the standard library. It must not contain a single quotation mark, because it is one
quoted word of a shell script.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import stat
import struct
import sys

HEADER = struct.Struct(">QI32s")
LONGEST = 4 * 1024 * 1024  # maximum number of bytes in a record, which is kept in memory
MOST_RANGES = 10000  # maximum number in one answer; the client sends the other bytes again
UNUSABLE, DAMAGED, INCOMPLETE = 10, 11, 15
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EndError(Exception):
    """The reason for an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def write_all(file: int, data: bytes) -> None:
    """Write all of the data, although write(2) may write only a part of it."""
    while data:
        data = data[os.write(file, data) :]


def answer(ranges: "list[tuple[int, int]]") -> None:
    """Print ranges as pairs of offset and length; ignore a lost connection, because the journal has the ranges."""
    with contextlib.suppress(OSError):
        write_all(1, b"\nHPCDEPLOY " + json.dumps({"have": ranges}).encode() + b"\n")


def read(count: int, silence: float) -> bytes:
    """Read count bytes, or fewer if the input ends.

    Raise an error after silence seconds without data, because a client that has disappeared leaves its connection open.
    """
    data = bytearray()
    while len(data) < count:
        if not select.select([0], [], [], silence)[0]:
            raise EndError(INCOMPLETE, f"received nothing for {silence:g} s")
        piece = os.read(0, count - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def open_own(folder: int, name: str, flags: int = 0) -> int:
    """Open a file of the folder for reading and writing; refuse links, and files that another user may have made."""
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise EndError(UNUSABLE, f"{name} is a link, or no file; remove it") from error
        raise
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise EndError(UNUSABLE, f"{name} is the file of another user, or a link; remove it")
    return file


def begin(folder: int, name: str, size: int) -> None:
    """Make the journal and the sparse file of an upload, unless they exist.

    The partial file of a single stream becomes the sparse file. A journal without a sparse file is from an earlier upload,
    and is replaced. The sparse file is made last, so if it exists, the journal exists too.
    """
    records, ranges, part = name + ".records", name + ".ranges", name + ".parcel"
    if os.access(records, os.F_OK, dir_fd=folder, follow_symlinks=False):
        os.close(open_own(folder, ranges, os.O_CREAT))
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(ranges, dir_fd=folder)
    journal = open_own(folder, ranges, os.O_CREAT | os.O_EXCL)
    with contextlib.suppress(FileNotFoundError):
        here = os.fstat(open_own(folder, part)).st_size
        if 0 < here <= size:
            write_all(journal, b"\n0 %d ;" % here)
            os.rename(part, records, src_dir_fd=folder, dst_dir_fd=folder)
            return
    os.close(open_own(folder, records, os.O_CREAT | os.O_EXCL))


def known(journal: int, size: int) -> "list[tuple[int, int]]":
    """Return the ranges in the journal; adjacent ranges are joined. A line that a full disk has truncated is ignored."""
    found = set()
    with open(journal, "rb", closefd=False) as lines:
        for line in lines:
            fields = line.split()
            if len(fields) == 3 and fields[0].isdigit() and fields[1].isdigit() and fields[2] == b";":
                found.add((int(fields[0]), int(fields[0]) + int(fields[1])))
    joined = []  # type: list[tuple[int, int]]
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [(start, end - start) for start, end in joined if end <= size][:MOST_RANGES]


def receive(header: bytes, file: int, journal: int, size: int, silence: float) -> None:
    """Write records until the input ends; the argument is the header of the first record, which was read already."""
    while header:
        if len(header) < HEADER.size:
            raise EndError(INCOMPLETE, "the connection ended within a record")
        offset, length, digest = HEADER.unpack(header)
        if not 0 < length <= LONGEST or offset + length > size:
            raise EndError(DAMAGED, f"a record of {length} bytes at {offset} is too long, or beyond the end")
        data = read(length, silence)
        if len(data) < length:
            raise EndError(INCOMPLETE, "the connection ended within a record")
        if hashlib.sha256(data).digest() != digest:
            raise EndError(DAMAGED, f"the record at {offset} arrived damaged")
        done = 0
        while done < length:
            done += os.pwrite(file, data[done:], offset + done)
        write_all(journal, b"\n%d %d ;" % (offset, length))
        answer([(offset, length)])
        header = read(HEADER.size, silence)


def check_name(file: int, folder: int, name: str) -> None:
    """Raise FileNotFoundError if the open file no longer has the name."""
    if not os.path.samestat(os.fstat(file), os.stat(name, dir_fd=folder, follow_symlinks=False)):
        raise FileNotFoundError


def main(path: str, sha256: str, size: int, silence: float, is_first: str) -> None:
    """Open the files in the folder, which the script has checked, and receive."""
    folder, name, header = os.open(path, os.O_RDONLY | os.O_DIRECTORY), "." + sha256, b""
    if is_first == "yes":
        begin(folder, name, size)
    else:
        header = read(HEADER.size, silence)  # the client sends it after the first process has made the files
        if not header:
            return
    try:
        file = open_own(folder, name + ".records")
        fcntl.flock(file, fcntl.LOCK_SH)  # held until this process ends; receive.sh waits for it before it renames the file
        check_name(file, folder, name + ".records")
        journal = open_own(folder, name + ".ranges", os.O_APPEND)
    except FileNotFoundError as error:
        raise EndError(INCOMPLETE, "another call continues this upload") from error
    if is_first == "yes":
        answer(known(journal, size))
        header = read(HEADER.size, silence)
    receive(header, file, journal, size, silence)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
    except EndError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.code)
    except OSError as error:
        full = ": make room there (a full disk, or your quota), and submit again" if error.errno in FULL else ""
        sys.stderr.write(f"error: cannot write to {sys.argv[1]}: {error.strerror}{full}\n")
        sys.exit(UNUSABLE)
