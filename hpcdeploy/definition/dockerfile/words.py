"""Words of a Dockerfile: quotes, escapes, and variables put in, as ``frontend/dockerfile/shell/lex.go`` of BuildKit does."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hpcdeploy.errors import DefinitionError

Lookup = Callable[[str], str | None]


def nothing(name: str) -> str | None:  # noqa: ARG001 - the shape of every lookup
    """Know no variable."""
    return None


def is_blank(text: str) -> bool:
    """Tell whether there is nothing but blanks."""
    return not text.strip()


def split_words(text: str, escape: str) -> tuple[str, ...]:
    """Cut a line at its blanks; quotes and escapes protect them and stay in the words."""
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
"""Characters of values that one instruction may have put in: no command of Linux takes as many (execve(2), ARG_MAX)."""


@dataclass
class _Words:
    """Words as they are found: blanks part them unless they came out of quotes."""

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
    """Puts the values of `lookup` into words.

    ``raw`` keeps quotes and escapes, ``quotes`` false gives them no meaning (here-documents), ``keep_unset`` leaves a
    variable without value as it stands, ``lenient`` keeps every ``${...}`` as it stands. Raises `DefinitionError` for an
    open quote and for ``${...}`` forms that not every version of Docker reads the same.
    """

    escape: str
    lookup: Lookup = nothing
    raw: bool = False
    quotes: bool = True
    keep_unset: bool = False
    lenient: bool = False
    _text: str = ""
    _at: int = 0
    _put_in: int = 0

    def word(self, text: str) -> str:
        """Return the text with variables put in, and quotes taken away, as one word."""
        return self._process(text)[0]

    def words(self, text: str) -> tuple[str, ...]:
        """Return the words that the text falls into once variables were put in."""
        return self._process(text)[1]

    def _process(self, text: str) -> tuple[str, tuple[str, ...]]:
        self._text, self._at, self._put_in = text, 0, 0
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
            raise DefinitionError(f"in {self._text!r} a {stop!r} is missing")
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
        """Give a value back; raises `DefinitionError` where the values that were put in are too long together."""
        self._put_in += len(value)
        if self._put_in > MOST_PUT_IN:
            raise DefinitionError(
                f"in {self._text[:40]!r}... the values of variables have more than {MOST_PUT_IN} characters; a variable "
                "that holds another one twice doubles it"
            )
        return value

    def _open(self, quote: str) -> DefinitionError:
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
                f"{form!r} is not read the same by every version of Docker; only $X, ${{X}}, ${{X:-d}}, ${{X:+a}} and "
                "${X:?message} are translated"
            )
        other = self._until("}")[0]
        value = self.lookup(name)
        if value is None and self.keep_unset:
            return f"${{{name}{':' if empty_is_unset else ''}{mark}{other}}}"
        missing = value is None or (empty_is_unset and not value)
        if mark == "?" and missing:
            raise DefinitionError(f"the variable {name} has no value: {other or 'it must be given'}")
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
