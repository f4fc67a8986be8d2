"""Fit tables and notes to the width of a terminal.

Columns that users copy, such as a run's id, are neither cut nor wrapped. Other columns wrap or are left out.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

_NARROWEST = 10
"""Minimum width, in characters, of a column that wraps or is cut. A column whose texts are all shorter is as wide as its
longest text.
"""

_LONGEST_NAME = 20
"""Maximum length of a name that the column of names in `labelled` is made for; the values of longer names begin later."""

_BETWEEN = 2
_EDGES = 2
"""Numbers of characters that rich draws: `_BETWEEN` between two columns, and `_EDGES` for the left and right edge together.

The numbers are valid for the box SIMPLE_HEAD with a padding of 1.
"""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: The heading of the column.
        whole: Whether the column's texts must stay complete: they are neither cut nor wrapped.
        drop: The order in which columns are left out if the terminal is too narrow: 1 is left out first, 0 is never left
            out.
        right: Whether texts are aligned to the right.
        cut: Whether long texts are cut and end with an ellipsis, instead of wrapped.
    """

    name: str
    whole: bool = False
    drop: int = 0
    right: bool = False
    cut: bool = False


def fit(columns: Sequence[Column], natural: Sequence[int], words: Sequence[int], width: int) -> dict[int, int]:
    """Return the widths of the columns to show, by their index in `columns`.

    First, columns are left out in the order of `Column.drop`, until the others fit with their minimum widths. A column that
    wraps is at least as wide as its longest word, because a path or a digest that is broken cannot be copied. If the columns
    that cannot be left out do not fit, the result is empty. Then the widest column that may wrap is made narrower, until the
    table fits.

    Args:
        columns: The columns.
        natural: For each column, the width of its longest text or its name, in characters.
        words: For each column, the width of the longest word in its texts and its name. A word that is wider than the
            terminal is broken in any case, and does not count.
        width: The width of the terminal in characters.
    """
    least = [
        full if column.whole else min(full, max(_NARROWEST, 0 if column.cut or word > width - _EDGES else word))
        for column, full, word in zip(columns, natural, words, strict=True)
    ]
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
    """Return a row as lines instead of a table: the first text, then the other texts with the names of their columns.

    Empty texts are left out. A first text that is never broken, such as a run's id, needs no name.
    """
    head = row[0] if columns[0].whole else f"{columns[0].name} {row[0]}"
    others = "  ".join(f"{column.name} {text}" for column, text in list(zip(columns, row, strict=True))[1:] if text)
    return [head, *wrapped(others, width, first="  ", later="  ")]


def labelled(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return names and values as lines of at most `width` characters, with the values in one column.

    Lines are broken between words only. A value with a word that is too long for the column continues below its name.
    """
    names = max((len(name) for name, _ in facts if len(name) <= _LONGEST_NAME), default=0)
    lines: list[str] = []
    for name, value in facts:
        first = f"  {name:<{names}}  "
        longest = max(map(len, value.split()), default=0)
        if len(first) + longest <= width:
            lines += wrapped(value, width, first=first, later=" " * (names + 4))
        else:
            lines += [first.rstrip(), *wrapped(value, width, first="    ", later="    ")]
    return lines


def wrapped(text: str, width: int, *, first: str = "", later: str = "") -> list[str]:
    """Break a text into lines of at most `width` characters (but at least 20).

    Lines are broken between words only, so that an id in the text can be copied. A longer word makes a longer line. `first`
    is the prefix of the first line, and `later` the prefix of the others.
    """
    return textwrap.wrap(
        text, max(width, 20), initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
