"""Convert wildcard patterns to regular expressions without backtracking.

``*a*a*a*b`` as ``.*a.*a.*a.*b`` takes time that grows with the fourth power of the text. That is not needed. After a ``*``
the first match of the text up to the next wildcard is as good as any later one, because the next wildcard can match the
text between them. So each part is an atomic group (Python's re, ``(?>...)``).
"""

from collections.abc import Sequence

STAR = "*"
"""In a list of pieces: any number of characters of one kind."""

FOLDERS = "**/"
"""In a list of pieces: any number of complete folders. The pieces after it, up to the next one or the end, must end with a
``/``."""


def joined(pieces: Sequence[str], *, any_character: str = "[^/]") -> str:
    """Return the expression of consecutive `pieces`, for `re.fullmatch`: expressions of fixed parts, `STAR` and `FOLDERS`.

    `any_character` is what a star matches; if that excludes slashes, no piece may have a slash beside other characters.
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
