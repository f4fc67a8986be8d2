"""Labs of a test's own, for what breaks a daemon, needs other settings or an older release."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcdeploy.lab import cluster
from hpcdeploy.lab.settings import default_settings
from hpcdeploy.lab.state import Lab

StartLab = Callable[..., AbstractContextManager[Lab]]


@contextmanager
def own_lab(folder: Path, **changes: Any) -> Iterator[Lab]:
    """Run a lab while the block runs.

    Its state is in `folder`, as if that were ``$XDG_STATE_HOME``. It shares the root file system with all other labs and
    has no base image. `changes` are fields of `LabSettings`.
    """
    usual = default_settings()
    environ = {"XDG_STATE_HOME": str(folder), "XDG_CACHE_HOME": str(usual.cache.parent.parent)}
    settings = replace(default_settings(environ), base_image=False, **changes)
    try:
        yield cluster.up(settings)
    finally:
        cluster.down(settings)
