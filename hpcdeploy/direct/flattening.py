"""Flatten layers into one tar stream for mksquashfs."""

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import BinaryIO

from hpcdeploy.direct.entries import Entry, Layer, stored_time, write_entry
from hpcdeploy.direct.tree import Tree
from hpcdeploy.errors import BuildError


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

    def newest(self) -> int:
        """Return the latest time of all names, in seconds since 1970, as `write` writes it."""
        return max(stored_time(node.mtime) for node in (self.tree.root, *(node for _, node in self.tree.walk())))

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

    def write(self, out: BinaryIO) -> None:
        """Write all names as one tar stream: first the folders and links, then the files in the order of their layers.

        mksquashfs needs an entry for the root and for each folder; it would create a missing one with the caller as owner
        and the current time (squashfs-tools 4.6.1).

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
            for place, first in _write_files(out, self._layers[number], names):
                for name in links.pop((number, place), ()):
                    write_entry(out, Entry(path=name, kind="hard link", target=first), name)
        out.write(bytes(tarfile.RECORDSIZE))


def _write_files(out: BinaryIO, layer: Layer, names: dict[int, str]) -> Iterator[tuple[int, str]]:
    """Write the files of one layer whose positions are in `names`; yield the position and name of each."""
    for place, entry in enumerate(layer.entries()):
        name = names.pop(place, None)
        if name is not None:
            write_entry(out, entry, name)
            yield place, name
    if names:
        raise BuildError(f"{next(iter(names.values()))!r} vanished from its layer during the build; build again")


def remaining(layers: Sequence[Layer]) -> Flattened:
    """Return the names that remain of `layers`."""
    flattened = Flattened()
    flattened.add(*layers)
    return flattened
