"""The folder in which this machine's builds of one definition happen, one at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcdeploy.apptainer.progress import Show
from hpcdeploy.private import private_folder


@contextmanager
def only_build(folder: Path, show: Show) -> Iterator[None]:
    """Let one build of the same inputs run at a time."""
    private_folder(folder.parent)
    private_folder(folder)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.step("waiting for another build of the same inputs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(*folders: Path) -> None:
    """Remove folders, those too that a build made unreadable to their owner."""
    for folder in folders:
        for path, names, _ in os.walk(folder):
            for name in names:
                inner = Path(path) / name
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
