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
from hpcdeploy.private import private_folder
from hpcdeploy.typed import typed
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
        private_folder(self._root)
        write_whole(folder / "instance.json", json.dumps(asdict(instance)), private=True)

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
        # Values of variables may hold any bytes, which are half pairs of surrogates in JSON: `read_json` refuses those.
        return typed(Instance, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InstanceError(
            f"the note of an instance, {file}, is damaged: {error}; stop the instance with its own engine, "
            "and remove that folder"
        ) from error
