"""Lay out a squarified treemap: rectangles with given areas that are as square as possible, in a given frame.

The algorithm is from Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): rows are filled along the shorter side as
long as that improves the worst aspect ratio in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle; ``x`` and ``y`` are the coordinates of its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def shrunk(self, by: float, top: float = 0.0) -> "Box":
        """Return the box reduced by `by` on each side and by `top` more at the top; sizes are never negative."""
        width, height = max(0.0, self.width - 2 * by), max(0.0, self.height - 2 * by - top)
        return Box(x=self.x + min(by, self.width / 2), y=self.y + min(by + top, self.height), width=width, height=height)


def squarify(sizes: Sequence[float], frame: Box) -> tuple[Box, ...]:
    """Return one box per size, in the same order, with areas in proportion to `sizes` (none negative).

    The result is best if the sizes are sorted, largest first. A size of 0 gets a box without area.
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
    """Return the first of `areas`, as many as make the best row along `side`."""
    count = 1
    while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
        count += 1
    return areas[:count]


def _worst(row: Sequence[float], side: float) -> float:
    """Return the worst aspect ratio of a row (1 for a square)."""
    total = sum(row)
    smallest, largest = min(row), max(row)
    if smallest <= 0 or side <= 0:
        return float("inf")
    return max(side * side * largest / (total * total), total * total / (side * side * smallest))


def _place(row: Sequence[float], frame: Box) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side of `frame`; return its boxes and the rest of the frame."""
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
