"""Record the instances that hpcdeploy started on this machine.

Each instance has one folder in ``$XDG_STATE_HOME/hpcdeploy/instances`` (default of the variable: ``~/.local/state``).
Apptainer binds this folder into the instance, so that later commands can pass programs to the instance. The folder has mode
0700, because the record contains the values of variables.
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
        name: The name of the instance, which is also the name of its folder.
        engine: The name of the engine that runs the instance.
        program: The path of the engine's executable.
        image: The path of a ``.sif``, or ``docker://`` and a full reference.
        environment: Names and values of the variables that the job or the options set.
        workdir: The path of the working folder in the container; empty if no folder was chosen.
        started: The start time in seconds since 1970.
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
        """Return the engine that runs the instance."""
        return Engine(name=self.engine, program=self.program)


class Instances:
    """The folder with the records of all instances."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, name: str) -> Path:
        """Return the path of an instance's folder."""
        return self._root / name

    def note(self, instance: Instance) -> None:
        """Write the record of an instance; call this before the instance is started."""
        folder = self.folder(instance.name)
        private_folder(self._root)
        write_whole(folder / "instance.json", json.dumps(asdict(instance)), private=True)

    def forget(self, name: str) -> None:
        """Remove an instance's folder with its record; errors are ignored."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def find(self, name: str) -> Instance | None:
        """Return the recorded instance `name`; None if there is no record of it.

        Raises:
            InstanceError: Any record in the folder is damaged.
        """
        return next((one for one in self.all() if one.name == name), None)

    def all(self) -> list[Instance]:
        """Return all recorded instances, running or not, sorted by name.

        Raises:
            InstanceError: A record is damaged.
        """
        files = sorted(self._root.glob("*/instance.json"))
        return [_read(file) for file in files]


def default_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the default path of the folder with the records of all instances."""
    return state_folder(environment) / "instances"


def _read(file: Path) -> Instance:
    try:
        # Not `read_json`, which rejects lone surrogates: they stand for bytes of a variable's value that are not UTF-8.
        return typed(Instance, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InstanceError(
            f"the record of an instance, {file}, is damaged: {error}; stop the instance with its engine, such as "
            f"'apptainer instance stop', and remove the folder {file.parent}"
        ) from error
