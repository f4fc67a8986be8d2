r"""Text from outside for a person's eyes: it stays text, whatever it holds, and commands no terminal.

A terminal obeys control characters: C0 and DEL (ECMA-48, 5.2), C1 (5.3; as U+0080 to U+009F too). Characters that have no
look of their own can hide or reorder what stands beside them: U+202E, U+2066 (Unicode Standard Annex 9, "Directional
Formatting Characters"; CVE-2021-42574). Each is shown by its number, as Python writes it: ``\x1b``, ``\u202e``.
"""

import codecs
import json
import re

_LINES = frozenset("\n\t")

# A control sequence, a command string up to its end, another escape sequence: ECMA-48, 5.4, 5.6, 5.3.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_LONGEST_SEQUENCE = 4096
"""Characters: a sequence without an end is waited for no longer, and shown."""


def plain(text: str) -> str:
    """Return `text` with its lines and tabs as they are, and every other character that cannot be printed shown."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _LINES else _shown(sign) for sign in text)


def one_line(text: str) -> str:
    r"""Return `text` as `plain` does, on one line: line breaks and tabs are shown too, ``\n``, ``\t``."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _shown(sign) for sign in text)


def json_text(value: object) -> str:
    r"""Return a value as indented JSON whose strings hold no character that cannot be printed: they stand there as ``\u``.

    The value is the same: RFC 8259, section 7, lets any character be escaped.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


class PlainStream:
    """Bytes that come in pieces, as plain text: UTF-8, without the sequences that set colours and move the cursor.

    What a program writes over itself (``10 %``, carriage return, ``20 %``) becomes lines. The rest is as `plain` has it.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def take(self, piece: bytes, *, last: bool = False) -> str:
        """Return the text of the next `piece`, and with the `last` one what was held back of a sequence without an end."""
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
