"""Store the record of runs and images in one SQLite file of the user.

The file is ``$XDG_STATE_HOME/hpcdeploy/runs.db`` (default ``~/.local/state``, XDG Base Directory Specification). A run is
recorded *before* its submission. So its id is known even if the connection is lost, and the same submission can be repeated.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.folders import state_folder
from hpcdeploy.store.image_rows import ImageRows
from hpcdeploy.store.node_rows import NodeRows
from hpcdeploy.store.run_rows import RunRows


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the SQLite file with the record of the user."""
    return state_folder(environment) / "runs.db"


class Store(RunRows, ImageRows, NodeRows):
    """The record of runs and images. Every method is one transaction, so concurrent commands never see a partial change.

    If the file does not exist and cannot be created, a method that only reads finds an empty record.

    Raises:
        ConfigError: By every method, in one of these cases: the file cannot be read, another process locks it for longer
            than `locked_for` seconds, its tables have a newer version, it is not an SQLite file of hpcdeploy, a required row
            is damaged, or a change cannot be written.
    """
