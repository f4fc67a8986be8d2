"""Format sizes for people."""

import codecs
import difflib
import json
import re
from collections.abc import Iterable


def written(size: int | None) -> str:
    """Return a size in bytes for people: three digits and a decimal unit, as conda channels use; ``?`` if unknown."""
    if size is None:
        return "?"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"


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


_LINES = frozenset("\n\t")

# A control sequence, a command string up to its end, another escape sequence: ECMA-48, 5.4, 5.6, 5.3.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_LONGEST_SEQUENCE = 4096
"""Maximum length in characters of an unfinished sequence; a longer one is shown."""


def plain(text: str) -> str:
    """Return `text` with its line breaks and tabs, and all other unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _LINES else _shown(sign) for sign in text)


def one_line(text: str) -> str:
    r"""Return `text` like `plain`, but on one line: line breaks and tabs are escaped too, ``\n``, ``\t``."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _shown(sign) for sign in text)


def json_text(value: object) -> str:
    r"""Return a value as indented JSON with unprintable characters in strings escaped as ``\u``.

    The value is the same: RFC 8259, section 7, allows escapes for all characters.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


class PlainStream:
    """Convert bytes that arrive in pieces to plain text: UTF-8, without sequences for colours and cursor movement.

    Progress output that overwrites itself (``10 %``, carriage return, ``20 %``) becomes lines. Otherwise it is like `plain`.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def take(self, piece: bytes, *, last: bool = False) -> str:
        """Return the text of the next `piece`; after the `last` one including an unfinished sequence."""
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
