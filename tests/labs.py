"""Labs of a test's own, for what breaks a daemon, needs other settings or an older release."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcdeploy_lab import cluster
from hpcdeploy_lab.releases import VARIABLE
from hpcdeploy_lab.settings import LabSettings, default_settings
from hpcdeploy_lab.state import Lab
from tests import shared

StartLab = Callable[..., AbstractContextManager[Lab]]


@contextmanager
def own_lab(folder: Path, **changes: Any) -> Iterator[Lab]:
    """Run a lab while the block runs.

    Its state is in `folder`, as if that were ``$XDG_STATE_HOME``. It has the shared lab's release of Slurm, and no base
    image. `changes` are fields of `LabSettings`.
    """
    settings = replace(settings_in(folder), base_image=False, **changes)
    note = shared.FOLDER / f"own-lab-{secrets.token_hex(6)}"
    note.write_text(str(folder))
    try:
        yield cluster.up(settings)
    finally:
        cluster.down(settings)
        note.unlink()


def settings_in(folder: Path) -> LabSettings:
    """Return the settings of a lab whose state is in `folder`."""
    environ = {"XDG_STATE_HOME": str(folder), "XDG_CACHE_HOME": str(default_settings().cache.parent.parent)}
    return default_settings({**environ, VARIABLE: os.environ.get(VARIABLE, "")})


def end_own_labs() -> None:
    """Take down the labs of workers that were ended before they could."""
    for note in shared.FOLDER.glob("own-lab-*"):
        cluster.down(settings_in(Path(note.read_text())))
