"""Convert wildcard patterns to regular expressions without backtracking.

If ``*a*a*a*b`` became ``.*a.*a.*a.*b``, matching could take a time that grows with the fourth power of the text's length.
The reason is backtracking, which is not needed here. The fixed text after a ``*`` may always be matched at its first
position: if a later position is needed, the next wildcard matches the text between the two positions. So each ``*`` but the
last, with the fixed text after it, becomes an atomic group, which is matched in one way only (Python's re, ``(?>...)``).
"""

from collections.abc import Sequence

STAR = "*"
"""A piece that matches any number of characters (`joined`, `any_character`)."""

FOLDERS = "**/"
"""A piece that matches any number of complete folders, each with its ``/``.

The pieces between this piece and the next one of its kind must end with a ``/``.
"""


def joined(pieces: Sequence[str], *, any_character: str = "[^/]") -> str:
    """Return a regular expression for `re.fullmatch` that matches `pieces`, one after the other.

    Args:
        pieces: `STAR`, `FOLDERS`, and regular expressions for fixed parts.
        any_character: A regular expression for the characters that a star matches. If it excludes slashes, a piece with a
            slash may have no other character.
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
