"""A file that appears whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def part_name(path: str) -> str:
    """Return a name beside `path` that nobody else uses, for what is not whole yet."""
    return f"{path}.part-{secrets.token_hex(6)}"


@contextmanager
def whole_file(path: Path, *, executable: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name `path` at the end, or vanishes where anything is raised.

    It is on the disk before it has its name. Raises OSError as `open` does.
    """
    part = Path(part_name(str(path)))
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if executable else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
