"""Draw the sizes of an image's packages as a squarified treemap, with rectangles that are as square as possible.

The algorithm is that of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000). It places rectangles in rows along the
shorter side of the free area. It adds a rectangle to a row as long as the worst aspect ratio of the row improves.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.environments.inventory import Item, known_size, unknown_sizes
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import written


@frozen
class Box:
    """A rectangle in SVG units. ``x`` and ``y`` are the coordinates of its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def shrunk(self, by: float, top: float = 0.0) -> "Box":
        """Return the box without a margin of `by` on each side, and without further `top` units at the top.

        The width and height of the result are never negative.
        """
        width, height = max(0.0, self.width - 2 * by), max(0.0, self.height - 2 * by - top)
        return Box(x=self.x + min(by, self.width / 2), y=self.y + min(by + top, self.height), width=width, height=height)


def squarify(sizes: Sequence[float], frame: Box) -> tuple[Box, ...]:
    """Divide `frame` into one box per size, in the order of `sizes`. The areas are proportional to the sizes.

    No size may be negative. A size of 0 gets a box without area. The boxes are most square if the largest size is first.
    """
    total = sum(sizes)
    if total <= 0 or frame.width <= 0 or frame.height <= 0:
        return tuple(Box(x=frame.x, y=frame.y, width=0.0, height=0.0) for _ in sizes)
    areas = [size / total * frame.width * frame.height for size in sizes]
    boxes: list[Box] = []
    while len(boxes) < len(areas):
        row = _row(areas[len(boxes) :], min(frame.width, frame.height))
        placed, frame = _place(row, frame)
        boxes += placed
    return tuple(boxes)


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """Return the first elements of `areas`, as many as form the best row along `side`.

    The best row is that whose worst aspect ratio is nearest to 1.
    """
    count = 1
    while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
        count += 1
    return areas[:count]


def _worst(row: Sequence[float], side: float) -> float:
    """Return the worst aspect ratio of the rectangles in a row along `side`; 1 means that all are squares."""
    total = sum(row)
    smallest, largest = min(row), max(row)
    if smallest <= 0 or side <= 0:
        return float("inf")
    return max(side * side * largest / (total * total), total * total / (side * side * smallest))


def _place(row: Sequence[float], frame: Box) -> tuple[list[Box], Box]:
    """Place a row along the shorter side of `frame`; return the boxes of the row, and the free rest of the frame."""
    total = sum(row)
    upright = frame.width >= frame.height
    side = frame.height if upright else frame.width
    depth = min(total / side, frame.width if upright else frame.height) if side > 0 else 0.0
    boxes: list[Box] = []
    done = 0.0
    for area in row:
        length = area / total * side if total > 0 else 0.0
        if upright:
            boxes.append(Box(x=frame.x, y=frame.y + done, width=depth, height=length))
        else:
            boxes.append(Box(x=frame.x + done, y=frame.y, width=length, height=depth))
        done += length
    if upright:
        rest = Box(x=frame.x + depth, y=frame.y, width=max(0.0, frame.width - depth), height=frame.height)
    else:
        rest = Box(x=frame.x, y=frame.y + depth, width=frame.width, height=max(0.0, frame.height - depth))
    return boxes, rest


WIDTH, HEIGHT = 1200.0, 720.0
_HEAD = 22.0
"""Height of the strip above the tiles of a family, with its name and share, in SVG units."""
_SMALLEST = 0.0015
"""Minimum share of the total size for a tile. The smaller items of a family are drawn together as one tile."""
_LETTER = 0.6
"""Mean width of a letter divided by the font size, for DejaVu Sans, which is the widest font of the picture."""
_MIN_LETTERS = 6
"""Minimum number of letters of a shortened name. If fewer fit, the tile gets no name."""
_LABEL, _NOTE = 13.0, 11.0
# XML 1.0, production 2 (Char): a document must not contain any other character, escaped or not.
_INVALID_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen
class Tile:
    """The rectangle of one item, or of all small items of a family.

    Attributes:
        box: The position and size.
        title: The text of the tooltip.
        label: The name of the item, shortened so that it fits into the box; empty if too little of it fits.
        note: The size of the item; empty if there is no room for it.
    """

    box: Box
    title: str
    label: str = ""
    note: str = ""


@frozen
class Group:
    """The tiles of a family of items.

    Attributes:
        box: The frame around all tiles.
        name: The name of the family.
        heading: The text in the strip above the tiles; empty if there is no room for it.
        title: The text of the tooltip.
        number: The index of the family in `_COLOURS`, by which the template chooses the colour.
        tiles: The tiles, largest first; the tile for small items is last.
    """

    box: Box
    name: str
    heading: str
    title: str
    number: int
    tiles: tuple[Tile, ...]


Facts = Sequence[tuple[str, str]]
"""Pairs of name and value that the HTML page shows in addition to the picture."""

_COLOURS = ("CUDA", "Python", "PyPI", "R", "libraries", "programs", "source", "files")


def draw(title: str, items: Sequence[Item], *, page: bool, facts: Facts = (), overrides: Path | None = None) -> str:
    """Return the picture of `items` as an SVG document, or as an HTML page.

    An item of unknown size is not drawn. The summary has the number of these items.

    Args:
        title: The title of the picture.
        items: The packages and other parts of the image, with their sizes.
        page: Whether to return an HTML page with the picture, `facts` and a list of all items.
        facts: Names and values that the HTML page shows.
        overrides: The project's folder. Files in its ``page_templates`` replace the built-in templates.

    Raises:
        TemplateError: The template is missing or broken.
        ConfigError: Another user may have written the project's template.
    """
    total, unknown = known_size(items), unknown_sizes(items)
    rows = [(item, written(item.size), item.size / total if item.size and total else 0.0) for item in items]
    values = {
        "title": _clean(title),
        "summary": f"{written(total)} in {len(items) - unknown} items" + (f"; {unknown} of unknown size" if unknown else ""),
        "width": WIDTH,
        "height": HEIGHT,
        "groups": layout(items),
        "rows": [
            {**{name: _clean(getattr(item, name)) for name in ("name", "version", "kind", "family")}, "size": size,
             "bytes": item.size or 0, "share": share, "colour": _COLOURS.index(item.family)}
            for item, size, share in rows
        ],
        "facts": [(_clean(name), _clean(value)) for name, value in facts],
    }  # fmt: skip
    name = "inspect.html" if page else "treemap.svg"
    return templates.render(f"page_templates/{name}", values, overrides=overrides)


def layout(items: Iterable[Item]) -> tuple[Group, ...]:
    """Return the groups of the items whose size is known: one per family, the largest family first."""
    sized = [item for item in items if item.size]
    total = known_size(sized)
    families = sorted({item.family for item in sized}, key=lambda family: -known_size(_of(sized, family)))
    frames = squarify([known_size(_of(sized, family)) for family in families], Box(x=0, y=0, width=WIDTH, height=HEIGHT))
    return tuple(_group(family, _of(sized, family), frame, total) for family, frame in zip(families, frames, strict=True))


def _of(items: Iterable[Item], family: str) -> list[Item]:
    return [item for item in items if item.family == family]


def _group(family: str, items: Sequence[Item], frame: Box, total: int) -> Group:
    box = frame.shrunk(1.5)
    size = known_size(items)
    words = f"{family} {written(size)}"
    fitting = (text for text in (f"{words}, {size / total:.0%}", words, family) if _fits(text, box.width - 12, _LABEL))
    heading = next(fitting, "")
    inner = box.shrunk(2, top=_HEAD - 2) if heading and box.height > 2 * _HEAD else box
    shown = [item for item in items if (item.size or 0) >= _SMALLEST * total]
    small = [item for item in items if (item.size or 0) < _SMALLEST * total]
    if len(small) == 1:
        shown, small = [*shown, *small], []
    sizes = [float(item.size or 0) for item in shown] + ([float(known_size(small))] if small else [])
    boxes = [each.shrunk(0.75) for each in squarify(sizes, inner)]
    tiles = [_tile(f"{item.name} {item.version}".strip(), item.name, item.size or 0, total, each)
             for item, each in zip(shown, boxes, strict=False)]  # fmt: skip
    if small:
        rest = f"{len(small)} smaller"
        tiles.append(_tile(rest, rest, known_size(small), total, boxes[-1]))
    return Group(
        box=box,
        name=family,
        heading=heading if inner is not box else "",
        title=f"{words}, {size / total:.1%} of all, {len(items)} {'item' if len(items) == 1 else 'items'}",
        number=_COLOURS.index(family),
        tiles=tuple(tiles),
    )


def _tile(name: str, label: str, size: int, total: int, box: Box) -> Tile:
    label = _cut(label, box.width - 10) if box.height > _LABEL + 6 else ""
    note = written(size)
    two_lines = box.height > _LABEL + _NOTE + 12 and _fits(note, box.width - 10, _NOTE)
    return Tile(
        box=box,
        title=_clean(f"{name}: {note}, {size / total:.1%} of all"),
        label=_clean(label),
        note=note if label and two_lines else "",
    )


def _cut(label: str, width: float) -> str:
    """Return a label that fits into `width`, shortened with an ellipsis if necessary; empty if too few letters fit."""
    if _fits(label, width, _LABEL):
        return label
    letters = int(width / (_LABEL * _LETTER)) - 1
    return f"{label[:letters]}…" if letters >= _MIN_LETTERS else ""


def _fits(text: str, width: float, size: float) -> bool:
    return len(text) * size * _LETTER <= width


def _clean(text: str) -> str:
    return _INVALID_CHARACTER.sub("\ufffd", text)
