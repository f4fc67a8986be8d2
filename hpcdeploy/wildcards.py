"""Wildcard patterns as regular expressions that do not go back over what they have matched.

``*a*a*a*b`` as ``.*a.*a.*a.*b`` takes time that grows with the fourth power of the text. It is not needed: behind a ``*``
the first place where the text up to the next wildcard fits is as good as any later one, since the next wildcard takes what
is between them. So each part is an atomic group (Python's re, ``(?>...)``).
"""

from collections.abc import Sequence

STAR = "*"
"""In a list of pieces: any number of characters of one kind."""

FOLDERS = "**/"
"""In a list of pieces: any number of whole folders, at the beginning of one. What follows it must end with a ``/``, up to
the next of its kind or the end."""


def joined(pieces: Sequence[str], *, any_character: str = "[^/]") -> str:
    """Return the expression of `pieces` in a row, for `re.fullmatch`: expressions of fixed parts, `STAR` and `FOLDERS`.

    `any_character` is what a star stands for; where that is not a slash, no piece may hold a slash beside other characters.
    """
    kept = [piece for number, piece in enumerate(pieces) if piece not in (STAR, FOLDERS) or pieces[:number][-1:] != [piece]]
    last_star = max((number for number, piece in enumerate(kept) if piece == STAR), default=-1)
    last_folders = max((number for number, piece in enumerate(kept) if piece == FOLDERS), default=-1)
    result, star, folders = "", False, False
    for number, piece in enumerate(kept):
        if piece == STAR:
            result += ")" * star
            star = number != last_star or last_folders > number
            result += f"(?>{any_character}*?" if star else f"{any_character}*"
        elif piece == FOLDERS:
            result += ")" * star + ")" * folders
            star, folders = False, number != last_folders
            result += "(?>(?:.*?/)??" if folders else "(?:.*/)?"
        else:
            result += piece
    return result + ")" * star + ")" * folders
