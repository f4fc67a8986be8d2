"""Looking for a secret in everything that a build leaves, and in every process while it runs."""

import base64
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def needles(marker: bytes) -> tuple[bytes, ...]:
    """Return the marker as it stands, in hex digits, and in base64 wherever in a longer text it may begin."""
    whole = [base64.b64encode(bytes(before) + marker)[(before * 8 + 5) // 6 :] for before in range(3)]
    return (marker, marker.hex().encode(), *(text.rstrip(b"=")[:-2] for text in whole))


def holding(places: Iterable[Path], wanted: Iterable[bytes], since: float = 0) -> list[Path]:
    """Return the files that hold one of the `wanted`, in content or name, of those that changed after `since`."""
    wanted = tuple(wanted)
    found = []
    for place in places:
        for path in [place, *place.rglob("*")]:
            try:
                status = path.lstat()
                if status.st_ctime < since:
                    continue
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            except OSError:  # gone meanwhile
                continue
            if any(needle in content or needle in str(path).encode() for needle in wanted):
                found.append(path)
    return found


@dataclass
class Seen:
    """Which processes had a secret in their arguments or in their environment, by their arguments; ``looks`` were made."""

    arguments: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)
    looks: int = 0


@contextmanager
def watching(wanted: Iterable[bytes]) -> Iterator[Seen]:
    """Look at every process of this machine, the lab's among them, again and again until the block ends."""
    wanted, seen, over = tuple(wanted), Seen(), threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    environment = (process / "environ").read_bytes()
                    arguments = (process / "cmdline").read_bytes()  # last: a program that execs has its environment first
                    name = (process / "comm").read_text().strip()
                except OSError:  # it has ended
                    continue
                words = arguments.replace(b"\0", b" ").decode(errors="replace").strip() or f"{name} (no arguments yet)"
                if any(needle in arguments for needle in wanted):
                    seen.arguments.add(words)
                if any(needle in environment for needle in wanted):
                    seen.environments.add(words)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
