"""What to say of a name that is not there: the nearest one that is."""

import difflib


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return ``did you mean 'gpu'?`` or, where nothing is near, the names there are."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there is {', '.join(map(repr, sorted(known)))}" if known else "there is none"
