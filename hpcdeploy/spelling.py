"""Suggest the name that was probably meant by a misspelt one."""

import difflib
from collections.abc import Iterable

_LONGEST = 60
"""Maximum number of characters to compare: the time grows with their square."""


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `word` was probably meant to be, ignoring case; None if none is similar."""
    spelt = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:_LONGEST], spelt, n=1, cutoff=0.6)
    return spelt[close[0]] if close else None


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return ``did you mean 'gpu'?``, or a list of all names if none is similar."""
    close = meant(name, known)
    if close:
        return f"did you mean {close!r}?"
    return f"there is {', '.join(map(repr, sorted(known)))}" if known else "there is none"
