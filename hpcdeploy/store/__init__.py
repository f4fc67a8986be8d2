"""Store the record of runs and images in one SQLite file, which is available from any folder and after a restart.

It is ``$XDG_STATE_HOME/hpcdeploy/runs.db`` (default ``~/.local/state``, XDG Base Directory Specification). A run is recorded
*before* its submission, so that its id is known in any case and the same submission can be repeated.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.folders import state_folder
from hpcdeploy.store.image_rows import ImageRows
from hpcdeploy.store.run_rows import RunRows


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the record."""
    return state_folder(environment) / "runs.db"


class Store(RunRows, ImageRows):
    """The record. Every method is one transaction, so that concurrent commands never see a partial change.

    For reading, a record that does not exist and cannot be created is empty.

    Raises:
        ConfigError: By every method: the file cannot be read, is locked for longer than `locked_for` seconds, has a newer
            version, or is something else; a required row is damaged; or a change cannot be written.
    """
