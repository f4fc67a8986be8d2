"""Fit tables and notes to the width of a terminal: what is copied stays whole, other columns wrap or are left out."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

_NARROWEST = 10
"""Minimum width of a column that wraps; a column with shorter texts is as wide as these."""

_BETWEEN = 2
_EDGES = 2
"""Number of characters that rich draws between two columns, and at both edges together (box SIMPLE_HEAD, padding of 1)."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: Its heading.
        whole: Its texts are neither cut nor wrapped.
        drop: Its place in the order in which columns are left out if the terminal is too narrow; 0: never.
        right: Its texts are aligned to the right.
        cut: Its texts are cut with an ellipsis instead of wrapped.
    """

    name: str
    whole: bool = False
    drop: int = 0
    right: bool = False
    cut: bool = False


def fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """Return the width of each column that is shown, by its place; empty if not even those fit that cannot be left out.

    Columns that may wrap become narrower first, the widest before the others. Then whole columns are left out.

    Args:
        columns: The columns.
        natural: The width of the longest text of each, its name included.
        width: The width of the terminal.
    """
    least = [full if column.whole else min(full, _NARROWEST) for column, full in zip(columns, natural, strict=True)]
    places = list(range(len(columns)))

    def room() -> int:
        return width - _EDGES - _BETWEEN * (len(places) - 1)

    for place in sorted((place for place in places if columns[place].drop), key=lambda place: columns[place].drop):
        if sum(least[one] for one in places) <= room():
            break
        places = [one for one in places if one != place]
    if sum(least[one] for one in places) > room():
        return {}
    widths = {place: natural[place] for place in places}
    while sum(widths.values()) > room():
        widest = max((place for place in places if widths[place] > least[place]), key=lambda place: widths[place])
        widths[widest] -= 1
    return widths


def stacked(columns: Sequence[Column], row: Sequence[str], width: int) -> list[str]:
    """Return a row as lines: its first text, and below it the others with the names of their columns."""
    others = "  ".join(f"{column.name} {text}" for column, text in list(zip(columns, row, strict=True))[1:] if text)
    return [row[0], *wrapped(others, width, first="  ", later="  ")]


def wrapped(text: str, width: int, *, first: str = "", later: str = "") -> list[str]:
    """Break a text into lines of at most `width` characters, between words only, so that an id in it can be copied."""
    return textwrap.wrap(
        text, max(width, 20), initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
