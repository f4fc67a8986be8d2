"""The name that was probably meant, where somebody wrote one that is not there."""

import difflib
from collections.abc import Iterable

_LONGEST = 60
"""Characters compared: the time that it takes grows with their square."""


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` was probably meant to be; capitals do not count."""
    spelt = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:_LONGEST], spelt, n=1, cutoff=0.6)
    return spelt[close[0]] if close else None


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return ``did you mean 'gpu'?`` or, where nothing is near, the names there are."""
    close = meant(name, known)
    if close:
        return f"did you mean {close!r}?"
    return f"there is {', '.join(map(repr, sorted(known)))}" if known else "there is none"
