"""Draw the sizes of an image's packages: a treemap as SVG, or a page with it and the full list (``page_templates/``)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.environments.inventory import Item, known_size, unknown_sizes
from hpcdeploy.sizes import written
from hpcdeploy.treemap import Box, squarify

WIDTH, HEIGHT = 1200.0, 720.0
_HEAD = 22.0
"""Height of the strip above the tiles of a family, with its name and share, in SVG units."""
_SMALLEST = 0.0015
"""Minimum share of the total: smaller items are drawn together as one tile."""
_LETTER = 0.6
"""Mean width of a letter relative to the font size: that of DejaVu Sans, the widest font that the picture uses."""
_MIN_LETTERS = 6
"""Minimum number of letters that must remain of a shortened name."""
_LABEL, _NOTE = 13.0, 11.0
# XML 1.0, production 2 (Char): a document must not contain any other character, escaped or not.
_INVALID_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle: ``label`` and ``note`` fit into it (or are empty), ``title`` is its tooltip."""

    box: Box
    title: str
    label: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The tiles of a family with their frame and heading; ``number`` selects the family's colour."""

    box: Box
    name: str
    heading: str
    title: str
    number: int
    tiles: tuple[Tile, ...]


Facts = Sequence[tuple[str, str]]
"""Names and values to show beside the picture."""

_COLOURS = ("CUDA", "Python", "PyPI", "R", "libraries", "programs", "source", "files")


def draw(title: str, items: Sequence[Item], *, page: bool, facts: Facts = (), overrides: Path | None = None) -> str:
    """Return the picture of `items` as an SVG document, or as an HTML page.

    Items of unknown size are counted in the summary and not drawn.

    Args:
        title: The title.
        items: The items with their sizes.
        page: Return an HTML page with the picture, `facts` and the full list.
        facts: Names and values to show.
        overrides: The project's folder. Its ``page_templates``, if present, replace the built-in ones.

    Raises:
        TemplateError: The template is broken.
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
    """Lay out the items of known size: one frame per family, largest first, and one tile per item."""
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
    """Return a label that fits `width`, shortened with an ellipsis if necessary; empty if too little of it would fit."""
    if _fits(label, width, _LABEL):
        return label
    letters = int(width / (_LABEL * _LETTER)) - 1
    return f"{label[:letters]}…" if letters >= _MIN_LETTERS else ""


def _fits(text: str, width: float, size: float) -> bool:
    return len(text) * size * _LETTER <= width


def _clean(text: str) -> str:
    return _INVALID_CHARACTER.sub("\ufffd", text)
