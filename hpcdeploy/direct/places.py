"""Put links at the places of the code into the tree of an image, so that the code can be appended to the image.

The rules are those of ``login/squashfs.py``, which does this in a build with Apptainer.
"""

from collections.abc import Iterator, Mapping, Sequence

from hpcdeploy.direct.entries import Entry
from hpcdeploy.direct.tree import Tree
from hpcdeploy.frozen import frozen

MOST_BESIDE = 1000
"""Maximum number of names beside the code in one folder; ``login/squashfs.py`` has the same number."""


@frozen
class Links:
    """The links of a tree to its code.

    Attributes:
        entries: The links.
        beside: The names beside the code, by the path of their folder in the image.
        problem: The reason why there can be no links; empty if there can be.
    """

    entries: tuple[Entry, ...] = ()
    beside: Mapping[str, tuple[str, ...]]
    problem: str = ""


def links_to_code(tree: Tree, places: Sequence[str], root: str, time: int) -> Links:
    """Return the links at the places of the code. The tree is not changed.

    Args:
        tree: The names of the image, without its code.
        places: The absolute paths of the code in the image.
        root: The name of the folder in the image's root in which the code will be.
        time: The time of the links, in seconds since 1970.
    """
    if taken := next(_taken(tree, places, root), ""):
        return Links(beside={}, problem=f"the image has {taken}")
    entries = (
        Entry(path=place.strip("/"), kind="link", mode=0o777, mtime=time, target=f"/{root}{place}") for place in places
    )
    return Links(entries=tuple(entries), beside=_beside(tree, places))


def unlinked(tree: Tree, links: Sequence[Entry], root: str) -> str:
    """Return the reason why the tree lacks one of the `links` that were added; empty if it has all of them.

    Two places may be the same one, because a folder above it is a link. Apptainer's own files may replace a link.
    """
    if links and tree.find(root):
        return f"a place of the code is inside another one, below /{root}"
    for link in links:
        node = tree.find(link.path)
        if node is None or node.target != link.target:
            return f"/{link.path} is another file of the image too"
    return ""


def _taken(tree: Tree, places: Sequence[str], root: str) -> Iterator[str]:
    """Yield what the image has where the code and the links to it will be."""
    if tree.find(root):
        yield f"a file /{root}"
    for place in places:
        node = tree.find(place.strip("/"))
        if node is not None and (node.children or node.kind != "folder"):
            yield f"other files at {place}"


def _beside(tree: Tree, places: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names in each folder above a place, without the folders on the way to the places."""
    way = {place[:end] for place in places for end in range(1, len(place) + 1) if place[end : end + 1] in ("/", "")}
    found = {}
    for folder in sorted(way - set(places)):
        node = tree.resolve(folder)
        names = sorted(name for name in (node.children or {} if node else {}) if f"{folder}/{name}" not in way)
        if 0 < len(names) <= MOST_BESIDE:
            found[folder] = tuple(names)
    return found
