"""Format text for people: sizes, suggestions for misspelt names, and text with unprintable characters."""

import codecs
import difflib
import json
import re
from collections.abc import Iterable


def written(size: int | None) -> str:
    """Return a size in bytes as text with three digits and a decimal unit, such as ``1.23 MB``; ``?`` for None."""
    if size is None:
        return "?"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"


_LONGEST = 60
"""Maximum number of characters of a name to compare, because the time grows with the square of this number."""


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that is most similar to `word`, ignoring case; None if no name is similar."""
    spelt = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:_LONGEST], spelt, n=1, cutoff=0.6)
    return spelt[close[0]] if close else None


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return advice for the unknown `name`: ``did you mean 'gpu'?``, or the list of `known` if no name is similar."""
    close = meant(name, known)
    if close:
        return f"did you mean {close!r}?"
    return f"there is {', '.join(map(repr, sorted(known)))}" if known else "there is none"


_LINES = frozenset("\n\t")

# Matches a control sequence (ECMA-48, 5.4), a control string with its end (5.6), or another escape sequence (5.3).
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_LONGEST_SEQUENCE = 4096
"""Maximum length in characters of a sequence that is not complete yet. The beginning of a longer one is shown as text."""


def plain(text: str) -> str:
    """Return `text` with escapes for all unprintable characters except line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _LINES else _shown(sign) for sign in text)


def one_line(text: str) -> str:
    r"""Return `text` with escapes for all unprintable characters, including line breaks (``\n``) and tabs (``\t``)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _shown(sign) for sign in text)


def json_text(value: object) -> str:
    r"""Return a value as indented JSON. Unprintable characters in strings are escaped as ``\u``.

    A parser reads the same value, because JSON allows an escape for each character (RFC 8259, section 7).
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


class PlainStream:
    """Convert output that arrives in pieces of bytes to text that can be shown in a terminal.

    - Bytes are decoded as UTF-8. Invalid bytes become escapes.
    - Sequences for colours and cursor movement are removed.
    - A carriage return becomes a line break. So progress output that overwrites itself becomes one line per step.
    - Other unprintable characters are escaped like by `plain`.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def take(self, piece: bytes, *, last: bool = False) -> str:
        """Return the text of the next `piece`.

        An incomplete sequence at its end is returned with a later piece; with the `last` piece it is returned at once.
        """
        text = self._rest + self._decoder.decode(piece, last)
        unfinished = None if last else _UNFINISHED.search(text, max(0, len(text) - _LONGEST_SEQUENCE))
        if not unfinished and text.endswith("\r") and not last:
            text, self._rest = text[:-1], "\r"
        elif unfinished:
            text, self._rest = text[: unfinished.start()], text[unfinished.start() :]
        else:
            self._rest = ""
        return plain(_SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def _shown(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
