"""Record the instances that were started on this machine, each in its own folder.

The folders are in ``$XDG_STATE_HOME/hpcdeploy/instances`` (default ``~/.local/state``). An Apptainer instance has its folder
bound, so that programs can be passed to it later. A folder has mode 0700, because it contains the values of variables.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hpcdeploy.checked_values import typed
from hpcdeploy.engine.contract import Engine, EngineName
from hpcdeploy.errors import InstanceError
from hpcdeploy.folders import state_folder
from hpcdeploy.frozen import frozen
from hpcdeploy.private import private_folder
from hpcdeploy.whole_file import write_whole


@frozen
class Instance:
    """A container that runs in the background.

    Attributes:
        name: Its name.
        engine: The name of its engine.
        program: The path of the engine.
        image: The image.
        environment: The variables that the job or the options set.
        workdir: The mounted working folder; empty for none.
        started: Start time in seconds since 1970.
    """

    name: str
    engine: EngineName
    program: str
    image: str
    environment: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    started: int = 0

    @property
    def runner(self) -> Engine:
        """Return the engine as a value."""
        return Engine(name=self.engine, program=self.program)


class Instances:
    """The folder with the records of all instances."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, name: str) -> Path:
        """Return the path of an instance's folder."""
        return self._root / name

    def note(self, instance: Instance) -> None:
        """Record an instance, before it is started."""
        folder = self.folder(instance.name)
        private_folder(self._root)
        write_whole(folder / "instance.json", json.dumps(asdict(instance)), private=True)

    def forget(self, name: str) -> None:
        """Remove an instance's folder."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def find(self, name: str) -> Instance | None:
        """Return the instance of that name, or None."""
        return next((one for one in self.all() if one.name == name), None)

    def all(self) -> list[Instance]:
        """Return all recorded instances, running or not, sorted by name."""
        files = sorted(self._root.glob("*/instance.json"))
        return [_read(file) for file in files]


def default_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the default path of the folder with all records."""
    return state_folder(environment) / "instances"


def _read(file: Path) -> Instance:
    try:
        # Not `read_json`: values of variables may have any bytes, which become half surrogate pairs in JSON.
        return typed(Instance, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InstanceError(
            f"the record of an instance, {file}, is damaged: {error}; stop the instance with its own engine, "
            "and remove that folder"
        ) from error
