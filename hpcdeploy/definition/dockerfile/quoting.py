"""Text as words of any POSIX shell that a definition file can hold: one line, no ``{{``, no ``%`` at its beginning.

`hpcdeploy.definition.guard.word` needs bash, which a Dockerfile's base image need not have.
"""

import re
import shlex
from collections.abc import Iterable

from hpcdeploy.errors import DefinitionError

PREAMBLE = ("nl='", "'", "cr=$(printf '\\015')")
"""What `word` refers to: a line break, and a carriage return, which Apptainer takes away at a line's end."""

_SPECIAL = re.compile(r"([\n\r])")
_VARIABLE = {"\n": '"$nl"', "\r": '"$cr"'}


def word(text: str) -> str:
    """Quote one word; the shell must have read `PREAMBLE`. Raises `DefinitionError` for a NUL."""
    if "\0" in text:
        raise DefinitionError(f"{text!r} holds a NUL character, which no program can be given; leave it out")
    pieces = (_VARIABLE.get(piece) or _quoted(piece) for piece in _SPECIAL.split(text) if piece)
    return "".join(pieces) or "''"


def words(texts: Iterable[str]) -> str:
    """Quote several words, with a blank between."""
    return " ".join(map(word, texts))


def written(text: str) -> list[str]:
    """Return the words that ``printf '%s\\n'`` writes `text` from, one for each line of it, on lines of their own."""
    return [f"    {word(line)} \\" for line in text.removesuffix("\n").split("\n")]


def _quoted(piece: str) -> str:
    quoted = f"'{piece}'" if piece.startswith("%") and "'" not in piece else shlex.quote(piece)
    # Braces are parted, inside of single quotes, where Apptainer would see a template.
    return re.sub(r"\{(?=\{)", "{''", quoted)
