"""Put a complete image at its final path, before its record is written.

hpcdeploy overwrites only images with a record (`hpcdeploy.apptainer.build_record.check_output`). If a process is killed
after it has renamed an image and before it has written the record, the next call would refuse to overwrite the image. So a
private note identifies the file before it is renamed, and the next call removes exactly this file.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import BuildError
from hpcdeploy.known_files import signature
from hpcdeploy.private import private_folder, read_private
from hpcdeploy.whole_file import remove_parts, write_whole


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """Yield the path at which an image for `output` is made; remove what this or an interrupted call left there."""
    made = output.with_name(f".{output.name}.new")
    remove_unfinished(output)
    try:
        yield made
    finally:
        remove_unfinished(output)


def remove_unfinished(output: Path) -> None:
    """Remove the incomplete files that an interrupted call left beside `output`."""
    made = f".{output.name}.new"
    for name in (made, f"{made}.moved", f".{made}.part", f".{output.name}.part"):
        output.with_name(name).unlink(missing_ok=True)
    remove_parts(record_path(output))


def place(made: Path, output: Path, notes: Path) -> None:
    """Rename the complete image `made` to `output`. The caller writes the record next, and calls `forget`.

    Args:
        made: The image, in the folder of `output`.
        output: The final path.
        notes: The private folder for the note.

    Raises:
        OSError: The note cannot be written, or the image cannot be renamed. `output` is then unchanged.
    """
    private_folder(notes)
    write_whole(_note(output, notes), json.dumps(signature(made.stat())[:4]), private=True)
    made.replace(output)


def forget(output: Path, notes: Path) -> None:
    """Remove the note about `output`, whose record exists now."""
    remove_parts(_note(output, notes))
    with suppress(OSError):
        _note(output, notes).unlink(missing_ok=True)


def remove_unrecorded(output: Path, notes: Path) -> None:
    """Remove the image at `output` if a killed call placed it there, and did not write its record."""
    try:
        noted = read_json(read_private(notes, _note(output, notes).name))
        ours = list(signature(output.stat())[:4]) == noted
    except (OSError, ValueError):
        ours = False
    if ours:
        try:
            recorded = read_record(output) is not None
        except BuildError:
            recorded = False
        if not recorded:
            output.unlink(missing_ok=True)
    forget(output, notes)


def _note(output: Path, notes: Path) -> Path:
    name = hashlib.sha256(os.fsencode(output.absolute())).hexdigest()
    return notes / f"placed-{name[:32]}.json"
