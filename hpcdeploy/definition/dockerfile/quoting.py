"""Quote text for any POSIX shell, in a form that a definition can contain: one line, no ``{{``, no ``%`` at its beginning.

`hpcdeploy.definition.guard.word` needs bash, which the base image of a Dockerfile may lack.
"""

import re
import shlex
from collections.abc import Iterable

from hpcdeploy.errors import DefinitionError

PREAMBLE = ("nl='", "'", "cr=$(printf '\\015')")
"""Shell lines for the variables of `word`: a line break, and a carriage return, which Apptainer drops at line ends."""

_SPECIAL = re.compile(r"([\n\r])")
_VARIABLE = {"\n": '"$nl"', "\r": '"$cr"'}


def word(text: str) -> str:
    """Quote one word; the shell must have executed `PREAMBLE` before.

    Raises:
        DefinitionError: The text contains a NUL character.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} contains a NUL character, which a program argument cannot hold; remove it")
    pieces = (_VARIABLE.get(piece) or _quoted(piece) for piece in _SPECIAL.split(text) if piece)
    return "".join(pieces) or "''"


def words(texts: Iterable[str]) -> str:
    """Quote several words and join them with spaces.

    Raises:
        DefinitionError: A text contains a NUL character.
    """
    return " ".join(map(word, texts))


def written(text: str) -> list[str]:
    """Return the arguments with which ``printf '%s\\n'`` prints `text`: one per line of it, each on its own line.

    Raises:
        DefinitionError: The text contains a NUL character.
    """
    return [f"    {word(line)} \\" for line in text.removesuffix("\n").split("\n")]


def _quoted(piece: str) -> str:
    quoted = f"'{piece}'" if piece.startswith("%") and "'" not in piece else shlex.quote(piece)
    # Split braces, inside single quotes, which Apptainer would read as a template.
    return re.sub(r"\{(?=\{)", "{''", quoted)
