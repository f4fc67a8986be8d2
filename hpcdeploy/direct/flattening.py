"""Flatten layers into one tar stream for mksquashfs."""

import io
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import IO, BinaryIO

from hpcdeploy.direct.entries import Entry, Layer, write_entry
from hpcdeploy.direct.tree import Node, Tree
from hpcdeploy.errors import BuildError

_TIMED = struct.Struct("<4sIII")
"""The beginning of a compiled Python file: magic number, flags, time and size of the source (PEP 552). With other flags than
0, Python does not compare the time."""

_MASK = 0xFFFFFFFF

_LARGEST_COMPILED = 64 << 20
"""Maximum size in bytes of a compiled Python file that is changed, because it is read into memory."""


def name_of(layer: Layer) -> str:
    """Return what messages call a layer."""
    return str(getattr(layer, "where", "a layer of the build"))


class Flattened:
    """The names of an image, and the layers that have their content.

    Layers are read twice: once for the names, and once more, in `write`, for the content of the names that remain.
    """

    def __init__(self) -> None:
        self.tree = Tree()
        self._layers: list[Layer] = []

    def add(self, *layers: Layer) -> None:
        """Apply layers on top of the earlier ones.

        Raises:
            BuildError: A layer is damaged, or has a path or link that no image can have.
        """
        for layer in layers:
            self._layers.append(layer)
            self.tree.begin_layer()
            where = name_of(layer)
            for number, entry in enumerate(layer.entries()):
                self.tree.apply(entry, number, where, whiteouts=layer.has_whiteouts)

    def read(self, path: str, most: int) -> bytes | None:
        """Return the first `most` bytes of the file at `path`, with links followed; None if there is no such file.

        Raises:
            BuildError: A layer is damaged.
        """
        node = self.tree.resolve(path)
        if node is None or node.kind != "file":
            return None
        number, place = node.source
        with closing(self._layers[number].entries()) as entries:
            for entry in islice(entries, place, place + 1):
                if entry.content is not None:
                    with entry.content() as content:
                        return content.read(most)
        return None

    def _timed(self, entry: Entry, name: str, time: int) -> Entry:
        """Return the entry of a file with `time` in its content, if it is a compiled Python file."""
        if not name.endswith(".pyc") or entry.content is None or entry.size > _LARGEST_COMPILED:
            return entry
        source = self.tree.resolve(_source_of(name))
        known = source if source is not None and source.kind == "file" else None
        return replace(entry, content=partial(_compiled, entry.content, entry.size, known, time))

    def _write_files(self, out: BinaryIO, number: int, names: dict[int, str], time: int) -> Iterator[tuple[int, str]]:
        """Write the files of one layer whose positions are in `names`; yield the position and name of each."""
        for place, entry in enumerate(self._layers[number].entries()):
            name = names.pop(place, None)
            if name is not None:
                write_entry(out, self._timed(entry, name, time), name)
                yield place, name
        if names:
            raise BuildError(f"{next(iter(names.values()))!r} vanished from its layer during the build; build again")

    def write(self, out: BinaryIO, *, time: int) -> None:
        """Write all names as one tar stream: first the folders and links, then the files in the order of their layers.

        All files of the image will have the same `time`, in seconds since 1970, so it is written into compiled Python files
        too (`_compiled`). mksquashfs needs an entry for the root and for each folder; it would create a missing one with the
        caller as owner and the current time (squashfs-tools 4.6.1).

        Raises:
            BuildError: A layer changed since it was added, or is damaged.
            OSError: The stream cannot be written.
        """
        wanted: dict[int, dict[int, str]] = {}
        links: dict[tuple[int, int], list[str]] = {}
        write_entry(out, self.tree.root.entry(""), "./")
        for path, node in self.tree.walk():
            number, place = node.source
            if node.kind != "file":
                write_entry(out, node.entry(path), path)
            elif place in wanted.setdefault(number, {}):
                links.setdefault(node.source, []).append(path)
            else:
                wanted[number][place] = path
        for number, names in sorted(wanted.items()):
            for place, first in self._write_files(out, number, names, time):
                for name in links.pop((number, place), ()):
                    write_entry(out, Entry(path=name, kind="hard link", target=first), name)
        out.write(bytes(tarfile.RECORDSIZE))


def _compiled(open_content: Callable[[], IO[bytes]], size: int, source: Node | None, time: int) -> IO[bytes]:
    """Open a compiled Python file with the new time of its source, if Python would use the file.

    Python compares this time with the time of the source (PEP 552), so it would compile every module again at each start.
    ``login/squashfs.py`` does the same in a build with Apptainer.
    """
    with open_content() as content:
        data = content.read(size)
    if len(data) >= _TIMED.size:
        magic, flags, when, source_size = _TIMED.unpack_from(data)
        is_used = source is None or (source.mtime & _MASK, source.size & _MASK) == (when, source_size)
        if not flags and is_used:
            data = _TIMED.pack(magic, flags, time, source_size) + data[_TIMED.size :]
    return io.BytesIO(data)


def _source_of(path: str) -> str:
    """Return the path of the source of a compiled Python file."""
    folder, _, name = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    return f"{above}/{name.partition('.')[0]}.py" if last == "__pycache__" else path.removesuffix("c")


def remaining(layers: Sequence[Layer]) -> Flattened:
    """Return the names that remain of `layers`."""
    flattened = Flattened()
    flattened.add(*layers)
    return flattened
