"""Quote text for any POSIX shell, and split and expand the words of a Dockerfile.

A definition can contain the quoted text, because it has one line and no ``{{``, and does not begin with ``%``. The results
of `hpcdeploy.definition.guard.word` need bash, which the base image of a Dockerfile may lack.
"""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hpcdeploy.errors import DefinitionError

PREAMBLE = ("nl='", "'", "cr=$(printf '\\015')")
"""Shell lines that set ``nl`` (a line break) and ``cr`` (a carriage return) for the results of `word`.

They are needed because a quoted word is one line, and because Apptainer drops a carriage return at the end of a line.
"""

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
    """Return the arguments with which ``printf '%s\\n'`` prints `text`: one argument per line of `text`.

    Each argument is on its own shell line, which ends with a backslash.

    Raises:
        DefinitionError: The text contains a NUL character.
    """
    return [f"    {word(line)} \\" for line in text.removesuffix("\n").split("\n")]


def _quoted(piece: str) -> str:
    quoted = f"'{piece}'" if piece.startswith("%") and "'" not in piece else shlex.quote(piece)
    # End and restart the single quotes between two braces, because Apptainer would read ``{{`` as a template.
    return re.sub(r"\{(?=\{)", "{''", quoted)


Lookup = Callable[[str], str | None]


def nothing(name: str) -> str | None:  # noqa: ARG001 - every lookup has this signature
    """Look up a variable in an empty environment."""
    return None


def is_blank(text: str) -> bool:
    """Tell whether a text is empty or contains only white space."""
    return not text.strip()


def split_words(text: str, escape: str) -> tuple[str, ...]:
    """Split a line at white space that is neither quoted nor escaped. Quotes and escapes stay in the words."""
    words: list[str] = []
    word, quote, started = "", "", False
    position = 0
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            if started:
                words.append(word)
            word, started = "", False
        elif character == escape and quote != "'":
            if position + 1 < len(text):
                word += text[position : position + 2]
                started = True
            position += 1
        else:
            if quote and character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            word, started = word + character, True
        position += 1
    return (*words, word) if started else tuple(words)


MOST_PUT_IN = 1024 * 1024
"""Maximum number of characters that variables insert into one text: more than Linux allows in one argument (execve(2))."""


@dataclass
class _Words:
    """Collector of words, which are separated by white space that was not quoted."""

    done: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        for character in text:
            if not character.isspace():
                self.open.append(character)
            elif any(self.open):
                self._close()

    def end(self) -> tuple[str, ...]:
        if any(self.open):
            self._close()
        return tuple(self.done)

    def _close(self) -> None:
        self.done.append("".join(self.open))
        self.open = []


@dataclass(kw_only=True)
class Lexer:
    """Expander of variables in words, with the values of `lookup`.

    Methods raise `DefinitionError` for an unclosed quote, and for ``${...}`` forms that versions of Docker read differently.

    Attributes:
        escape: The escape character.
        lookup: A function that returns the value of a variable; None if the variable is unset.
        raw: Whether quotes and escapes are kept.
        quotes: Whether quotes are special; false for here-documents.
        keep_unset: Whether a variable without a value is kept as it is written.
        lenient: Whether unsupported ``${...}`` forms are kept as they are written.
    """

    escape: str
    lookup: Lookup = nothing
    raw: bool = False
    quotes: bool = True
    keep_unset: bool = False
    lenient: bool = False
    _text: str = ""
    _at: int = 0
    _inserted: int = 0

    def word(self, text: str) -> str:
        """Return the text as one word, with variables expanded and quotes removed.

        Raises:
            DefinitionError: The text is malformed.
        """
        return self._process(text)[0]

    def words(self, text: str) -> tuple[str, ...]:
        """Return the words that result from expanding the variables in the text.

        Raises:
            DefinitionError: The text is malformed.
        """
        return self._process(text)[1]

    def _process(self, text: str) -> tuple[str, tuple[str, ...]]:
        self._text, self._at, self._inserted = text, 0, 0
        try:
            return self._until("")
        except RecursionError:
            raise DefinitionError(f"in {text[:40]!r}... variables are nested too deeply") from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _until(self, stop: str) -> tuple[str, tuple[str, ...]]:
        result, words = "", _Words()
        while character := self._peek():
            if character == stop:
                self._next()
                return result, words.end()
            if character == "$":
                value = self._counted(self._variable())
                words.add(value)
            elif self.quotes and character in "'\"":
                value = self._single() if character == "'" else self._double()
                words.open.append(value)
            else:
                value = self._next()
                if value == self.escape:
                    following = self._next()
                    value = (self.escape if self.raw else "") + following
                    words.open.append(value)
                else:
                    words.add(value)
            result += value
        if stop:
            raise DefinitionError(f"in {self._text!r} a '${{' is not closed; add {stop!r}")
        return result, words.end()

    def _single(self) -> str:
        start = self._next()
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._open("'")
        inner = self._text[self._at : end]
        self._at = end + 1
        return f"{start}{inner}'" if self.raw else inner

    def _double(self) -> str:
        result = self._next() if self.raw else self._next()[:0]
        while character := self._peek():
            if character == '"':
                self._next()
                return result + ('"' if self.raw else "")
            if character == "$":
                result += self._counted(self._variable())
                continue
            self._next()
            if character == self.escape:
                following = self._peek()
                if not following:
                    break
                if following in ('"', "$", self.escape):
                    character = (self.escape if self.raw else "") + self._next()
            result += character
        raise self._open('"')

    def _counted(self, value: str) -> str:
        """Add the length of a value to the total length of all inserted values, and return the value.

        Raises:
            DefinitionError: The inserted values together are longer than `MOST_PUT_IN`.
        """
        self._inserted += len(value)
        if self._inserted > MOST_PUT_IN:
            raise DefinitionError(
                f"in {self._text[:40]!r}... the values of variables have more than {MOST_PUT_IN} characters; check for "
                "variables that contain another variable twice, which doubles the length"
            )
        return value

    def _open(self, quote: str) -> DefinitionError:
        """Return the error for a quote that is not closed."""
        return DefinitionError(f"in {self._text!r} the quote {quote} is not closed")

    def _variable(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self.lookup(name)
            return f"${name}" if value is None and self.keep_unset else value or ""
        self._next()
        start = self._at
        name = self._name()
        mark = self._next()
        if name and mark == "}":
            value = self.lookup(name)
            return f"${{{name}}}" if value is None and self.keep_unset else value or ""
        empty_is_unset = mark == ":"
        mark = self._next() if empty_is_unset else mark
        if self.lenient and (not name or mark not in ("-", "+", "?")):
            return "${" + self._text[start : self._at]
        if not name or mark not in ("-", "+", "?"):
            form = self._text[start - 2 : self._text.find("}", start) + 1 or None]
            raise DefinitionError(
                f"versions of Docker read {form!r} differently; only $X, ${{X}}, ${{X:-d}}, ${{X:+a}} and "
                "${X:?message} are translated"
            )
        other = self._until("}")[0]
        value = self.lookup(name)
        if value is None and self.keep_unset:
            return f"${{{name}{':' if empty_is_unset else ''}{mark}{other}}}"
        missing = value is None or (empty_is_unset and not value)
        if mark == "?" and missing:
            raise DefinitionError(f"the variable {name} has no value: {other or 'it must be set'}")
        if mark == "+":
            return "" if missing else other
        return other if missing else value or ""

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first and first in "@*#?-$!":
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalnum() or character == "_"):
                self._at += 1
        return self._text[start : self._at]
