r"""Convert text from outside to plain text, so that it cannot control the terminal.

A terminal obeys control characters: C0 and DEL (ECMA-48, 5.2), C1 (5.3; also as U+0080 to U+009F). Invisible characters can
hide or reorder their neighbours: U+202E, U+2066 (Unicode Standard Annex 9, "Directional Formatting Characters";
CVE-2021-42574). Each is shown as Python's escape: ``\x1b``, ``\u202e``.
"""

import codecs
import json
import re

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
