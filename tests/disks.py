"""A disk of a few MB that a test can fill: a tmpfs, mounted as root, as the lab's own file systems are."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Lay a disk of `size` (as tmpfs(5) writes it, ``1m``) over `folder`; give the function that gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)

    def resize(other: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={other}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
