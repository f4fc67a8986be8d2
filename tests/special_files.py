"""Files that are none: for tests of what refuses to read them, and of what must not wait for them."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


@contextmanager
def _pipe(path: Path) -> Iterator[None]:
    os.mkfifo(path)
    yield


@contextmanager
def _device(path: Path) -> Iterator[None]:
    path.symlink_to("/dev/null")
    yield


@contextmanager
def _socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # the name of a socket has at most 108 bytes (unix(7)), which the folder of a test may have itself
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
            yield
        finally:
            os.close(folder)


SPECIAL: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "a named pipe": _pipe,
    "a device": _device,
    "a socket": _socket,
}
"""What makes one, by what it is called in messages."""
