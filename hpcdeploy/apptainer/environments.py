"""Keep the images of environments, to which code is appended, in a private folder of this machine.

An entry is the image ``KEY.sif`` and ``KEY.json``. The second file is written last and names the checksum of the first, so
an incomplete or damaged image is detected. An entry is never changed: code is appended to a copy.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hpcdeploy.apptainer.build_record import Checksum
from hpcdeploy.checked_values import read_json, whole_number
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Toolchain
from hpcdeploy.private import private_folder
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import remove_parts, sha256_of, write_whole


@frozen
class Environment:
    """An image without its code.

    Attributes:
        image: The path of the image.
        problem: The reason why code cannot be appended to it; empty if it can. With a problem, there is no image.
        beside: The names beside the code, by the path of their folder in the image.
        toolchain: What built the image.
    """

    image: Path
    problem: str = ""
    beside: Mapping[str, tuple[str, ...]]
    toolchain: Toolchain


class Environments:
    """The environments in a folder. Only the process that holds the lock of a key may use the entry of this key.

    Args:
        folder: The private folder.
        checksum: Returns the sha256 of an image.
    """

    def __init__(self, folder: Path, checksum: Checksum = sha256_of) -> None:
        self.folder = folder
        self._checksum = checksum

    def path(self, key: str) -> Path:
        """Return the path of the image with this key."""
        return self.folder / f"{key}.sif"

    def prepare(self, key: str) -> Path:
        """Create the folder, remove what an interrupted build of this key left, and return the path for the new image."""
        private_folder(self.folder)
        for left in self.folder.glob(f".{key}.*"):
            left.unlink(missing_ok=True)
        remove_parts(self._record(key))
        return self.folder / f".{key}.new"

    def find(self, key: str) -> Environment | None:
        """Return the entry with this key; None if there is none, or if it is damaged. A damaged image is renamed.

        Raises:
            OSError: The entry cannot be read.
        """
        image, record = self.path(key), self._record(key)
        try:
            values = read_json(read_regular(record, LARGEST_TEXT).decode())
            problem, beside = (
                values["problem"],
                {str(folder): tuple(map(str, names)) for folder, names in values["beside"].items()},
            )
            size, sha256 = whole_number(values["size"]), str(values["sha256"])
            built = values["toolchain"]
            tools = tuple((str(name), str(version)) for name, version in built["tools"])
            toolchain = Toolchain(builder=str(built["builder"]), program=str(built["program"]), tools=tools)
        except (OSError, UnsuitableFileError, ValueError, KeyError, TypeError, AttributeError):
            image.unlink(missing_ok=True)
            record.unlink(missing_ok=True)
            return None
        if problem:
            return Environment(image=image, problem=str(problem), beside={}, toolchain=toolchain)
        if image.is_file() and image.stat().st_size == size and self._checksum(image) == sha256:
            return Environment(image=image, beside=beside, toolchain=toolchain)
        record.unlink()
        if image.exists():
            image.replace(image.with_suffix(".damaged"))
        return None

    def keep(
        self, key: str, made: Path, toolchain: Toolchain, beside: Mapping[str, tuple[str, ...]], problem: str = ""
    ) -> Environment:
        """Add the image `made` under `key`, or only the `problem` that forbids appending; return the entry.

        Raises:
            OSError: The entry cannot be written. There is then no entry.
        """
        self._record(key).unlink(missing_ok=True)
        values = {"problem": problem, "beside": dict(beside), "toolchain": asdict(toolchain), "size": 0, "sha256": ""}
        if not problem:
            values |= {"size": made.stat().st_size, "sha256": self._checksum(made)}
            made.chmod(0o600)
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(self.path(key))
        write_whole(self._record(key), json.dumps(values))
        return Environment(image=self.path(key), problem=problem, beside=beside, toolchain=toolchain)

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"
