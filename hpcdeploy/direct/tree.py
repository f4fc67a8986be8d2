"""Apply layers to one tree of names, as an OCI runtime does, without writing files.

Rules: OCI image specification 1.1, layer.md (whiteouts, opaque folders, hard links, changed kinds).
"""

from collections.abc import Iterator

from hpcdeploy.direct.entries import Entry, plain_path
from hpcdeploy.errors import BuildError

WHITEOUT, OPAQUE, RESERVED = ".wh.", ".wh..wh..opq", ".wh..wh."
MOST_ENTRIES = 2_000_000
"""Maximum number of entries in all layers of one image. A CUDA image with an environment has about 300,000."""

MOST_BYTES = 500 * 10**9
"""Maximum size in bytes of all files in all layers."""

_MOST_STEPS = 20_000_000
"""Maximum number of components of links that are followed for one image, which limits the time for a hostile image."""

_MOST_LINKS = 255
"""Maximum number of symbolic links on the way to one path (MAXSYMLINKS of glibc and Go's securejoin)."""


class Node:
    """A name of the tree. The names of hard links have the same `source`.

    A node has slots, and does not keep its `Entry`, because an image may have a million names.

    Attributes:
        kind, mode, mtime, uid, gid, size, target, xattrs: The values of the `Entry`.
        source: The number of the layer, and of the entry in it, that has the content.
        layer: The number of the layer that wrote this name last.
        children: The names in a folder; None if the node is not a folder.
    """

    __slots__ = ("children", "gid", "kind", "layer", "mode", "mtime", "size", "source", "target", "uid", "xattrs")

    def __init__(self, entry: Entry, source: tuple[int, int], layer: int) -> None:
        self.kind = entry.kind
        self.size = entry.size
        self.target = entry.target
        self.source = source
        self.layer = layer
        self.children: dict[str, Node] | None = {} if entry.kind == "folder" else None
        self.describe(entry)

    def describe(self, entry: Entry) -> None:
        """Take the metadata of `entry`."""
        self.mode, self.mtime, self.uid, self.gid, self.xattrs = entry.mode, entry.mtime, entry.uid, entry.gid, entry.xattrs

    def entry(self, path: str) -> Entry:
        """Return the entry of this node under the name `path`, without content."""
        return Entry(
            path=path,
            kind=self.kind,
            mode=self.mode,
            mtime=self.mtime,
            uid=self.uid,
            gid=self.gid,
            size=self.size,
            target=self.target,
            xattrs=self.xattrs,
        )


class Tree:
    """The names of an image after the layers that were applied so far.

    Attributes:
        devices: The paths of device files, which are left out, because only root can create them.
    """

    def __init__(self, root_mtime: int = 0) -> None:
        self.root = Node(Entry(path="", kind="folder", mode=0o755, mtime=root_mtime), (-1, -1), -1)
        self.devices: list[str] = []
        self._layer = -1
        self._count = self._bytes = self._steps = 0

    def begin_layer(self) -> int:
        """Begin the next layer; return its number. Whiteouts remove only names of earlier layers."""
        self._layer += 1
        return self._layer

    def apply(self, entry: Entry, number: int, where: str, *, whiteouts: bool) -> None:
        """Apply one entry of the current layer.

        Args:
            entry: The entry.
            number: The position of the entry in its layer.
            where: The layer, for messages.
            whiteouts: Whether names such as ``.wh.NAME`` are whiteouts.

        Raises:
            BuildError: The entry has an impossible path or link, or the layers exceed a limit.
        """
        self._account(entry, where)
        path = plain_path(entry.path, where)
        folder, _, name = path.rpartition("/")
        if not path:
            if entry.kind == "folder":
                self.root.describe(entry)
            return
        if whiteouts and name.startswith(WHITEOUT):
            self._white_out(folder, name, where)
            return
        parent = self._folder(folder, entry, where)
        assert parent.children is not None
        if entry.kind == "device":
            self.devices.append(path)
            parent.children.pop(name, None)
            return
        old = parent.children.get(name)
        if entry.kind == "hard link":
            self._link(parent, name, entry, where)
        elif entry.kind == "folder" and old is not None and old.children is not None:
            old.describe(entry)
            old.layer = self._layer
        else:
            parent.children[name] = Node(entry, (self._layer, number), self._layer)

    def find(self, path: str) -> Node | None:
        """Return the node at `path`, following links in its folders but not in its last component; None if there is none."""
        folder, _, name = path.rpartition("/")
        parent = self._walk(folder)
        return None if parent is None or parent.children is None else parent.children.get(name)

    def resolve(self, path: str) -> Node | None:
        """Return the node at `path` with all links followed inside the image; None if there is none."""
        return self._walk(path)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Yield the paths and nodes in a fixed order; folders precede their content. The root is not yielded."""
        waiting: list[tuple[str, Node]] = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            if path:
                yield path, node
            inner = sorted((node.children or {}).items(), reverse=True)
            waiting += [(f"{path}/{name}" if path else name, child) for name, child in inner]

    def _account(self, entry: Entry, where: str) -> None:
        self._count += 1
        self._bytes += entry.size
        if self._count > MOST_ENTRIES or self._bytes > MOST_BYTES:
            raise BuildError(
                f"{where} and the layers below have more than {MOST_ENTRIES} entries or {MOST_BYTES // 10**9} GB, which is "
                "the maximum; use a smaller base image"
            )

    def _white_out(self, folder: str, name: str, where: str) -> None:
        parent = self._walk(folder)
        if parent is None or parent.children is None:
            return  # there is nothing to hide
        if name == OPAQUE:
            self._remove_lower(parent.children)
        elif not name.startswith(RESERVED):  # other reserved names hold data of AUFS
            hidden = name.removeprefix(WHITEOUT)
            if hidden in ("", ".", ".."):
                raise BuildError(f"{where} has the whiteout {name!r}, which hides no file; do not use this image")
            kept = {hidden: parent.children[hidden]} if hidden in parent.children else {}
            self._remove_lower(kept)
            if not kept:
                parent.children.pop(hidden, None)

    def _remove_lower(self, children: dict[str, Node]) -> None:
        """Remove the names that earlier layers wrote; keep a folder that has names of this layer."""
        stack, visited = [children], [children]
        while stack:
            for child in stack.pop().values():
                if child.children is not None:
                    stack.append(child.children)
                    visited.append(child.children)
        for names in reversed(visited):
            for name, child in list(names.items()):
                if child.layer < self._layer and not child.children:
                    del names[name]

    def _link(self, parent: Node, name: str, entry: Entry, where: str) -> None:
        assert parent.children is not None
        target = self.find(plain_path(entry.target, where))
        if target is None or target.children is not None:
            raise BuildError(
                f"{where} has the hard link {entry.path[:200]!r} to {entry.target[:200]!r}, which is not a file of the "
                "image; its layers are incomplete: create the image again"
            )
        parent.children[name] = Node(target.entry(""), target.source, self._layer)

    def _folder(self, path: str, entry: Entry, where: str) -> Node:
        """Return the folder at `path` with links followed; create missing folders."""
        found = self._walk(path, create=entry)
        if found is None or found.children is None:
            raise BuildError(
                f"{where} has {entry.path[:200]!r}, but {path[:200]!r} is not a folder in the image, or its links lead in a "
                "circle; create the image again"
            )
        return found

    def _walk(self, path: str, *, create: Entry | None = None) -> Node | None:
        """Return the node at `path` with all links followed inside the image; None if there is none.

        ``..`` in a link stays inside the root, as in a container.
        """
        ways = [self.root]
        waiting = path.split("/")[::-1]
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                ways = ways[:-1] or ways
                continue
            here = ways[-1].children
            if here is None:
                return None
            child = here.get(part)
            if child is None:
                if create is None:
                    return None
                made = Entry(path="", kind="folder", mode=0o755, mtime=create.mtime)
                child = here[part] = Node(made, (self._layer, -1), self._layer)
            if child.kind == "link":
                links += 1
                parts = child.target.split("/")
                self._steps += len(parts)
                if links > _MOST_LINKS or self._steps > _MOST_STEPS:
                    return None
                ways = [self.root] if child.target.startswith("/") else ways
                waiting += parts[::-1]
                continue
            ways.append(child)
        return ways[-1]
