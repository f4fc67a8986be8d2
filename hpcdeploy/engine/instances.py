"""The instances that were started from here: one folder each, with what a later command needs to know of it.

The folders lie in ``$XDG_STATE_HOME/hpcdeploy/instances`` (default ``~/.local/state``). An Apptainer instance sees its own,
so that programs can be handed to it later; it is open to nobody else, since it holds the values of variables.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hpcdeploy.engine.contract import Engine, EngineName
from hpcdeploy.errors import InstanceError
from hpcdeploy.folders import state_folder
from hpcdeploy.json_text import read_json
from hpcdeploy.whole_file import write_whole


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A container that goes on by itself: ``engine`` and its ``program`` run it, from ``image``.

    ``environment`` is what the job or the options set; ``workdir`` is the mounted working folder, or empty; ``started`` is
    in seconds since 1970.
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
        """The engine as a value."""
        return Engine(name=self.engine, program=self.program)


class Instances:
    """The folder of all of them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, name: str) -> Path:
        """Say where an instance's folder is."""
        return self._root / name

    def note(self, instance: Instance) -> None:
        """Write an instance down, before it is started."""
        folder = self.folder(instance.name)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_whole(folder / "instance.json", json.dumps(asdict(instance)))

    def forget(self, name: str) -> None:
        """Remove an instance's folder."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def find(self, name: str) -> Instance | None:
        """Return the instance of that name, or None."""
        return next((one for one in self.all() if one.name == name), None)

    def all(self) -> list[Instance]:
        """List them by name, whether they still run or not."""
        files = sorted(self._root.glob("*/instance.json"))
        return [_read(file) for file in files]


def default_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Say where the folders lie."""
    return state_folder(environment) / "instances"


def _read(file: Path) -> Instance:
    try:
        fields = read_json(file.read_text(encoding="utf-8"))
        environment = tuple((name, value) for name, value in fields["environment"])
        return Instance(**{**fields, "environment": environment})
    except (ValueError, TypeError, KeyError) as error:
        raise InstanceError(
            f"{file} is not the record of an instance: {error}; stop the container with its engine and remove that folder"
        ) from error
