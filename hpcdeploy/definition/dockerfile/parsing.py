"""Parse a Dockerfile into instructions: directives, continuation lines, comments, here-documents, flags, JSON forms.

Rules: the Dockerfile reference (https://docs.docker.com/reference/dockerfile/), and BuildKit's parser
(``frontend/dockerfile/parser``) where the reference is silent.

This parser exists because no library fits. dockerfile-parse 2.0.1 does not know here-documents (it reads their lines as
instructions) and removes comments from continuation lines incorrectly. ``dockerfile`` 3.4.0 is BuildKit's own parser, but
it needs a Go runtime in this process, and it reports neither the escape character nor which here-documents are quoted.
The tests compare this parser with ``dockerfile`` 3.4.0.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcdeploy.definition.dockerfile.words import Lexer, is_blank, split_words
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen

INSTRUCTIONS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
_JSON = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_HERE = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)", re.ASCII)
_OWN_FRONTEND = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


@frozen
class HereDocument:
    """A here-document.

    Attributes:
        name: The delimiter without quotes.
        text: The lines before the delimiter.
        expand: Whether variables in the text are expanded; false if the delimiter was quoted.
        chomp: Whether tabs at the beginning of lines are removed; true for ``<<-``.
    """

    name: str
    text: str
    expand: bool
    chomp: bool

    @property
    def content(self) -> str:
        """Return the text as it reaches a file: without the leading tabs that ``<<-`` removes."""
        return re.sub(r"^\t+", "", self.text, flags=re.MULTILINE) if self.chomp else self.text


@frozen
class Instruction:
    """One instruction.

    Attributes:
        line: The number of the instruction's first line in the file, from 1.
        name: The keyword in capitals.
        rest: The text after the flags, with continuation lines joined.
        flags: Names and values of the flags, in order.
        words: The elements of `rest` if that is a JSON array; otherwise None.
        here: The here-documents.
    """

    line: int
    name: str
    rest: str
    flags: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] | None = None
    here: tuple[HereDocument, ...] = ()

    def refused(self, reason: str) -> DefinitionError:
        """Return the error for this instruction, with its line, its name and the reason."""
        return DefinitionError(f"line {self.line}: {self.name} {reason}")


@frozen
class Dockerfile:
    """The instructions of a Dockerfile, and its escape character."""

    instructions: tuple[Instruction, ...]
    escape: str


@dataclass
class _Lines:
    """The lines of the file.

    Attributes:
        lines: All lines.
        number: The number of lines that were read.
        seen: The names of the parser directives that were read.
    """

    lines: list[str]
    number: int = 0
    seen: set[str] = field(default_factory=set)

    def next(self) -> str:
        self.number += 1
        return self.lines[self.number - 1]

    @property
    def more(self) -> bool:
        return self.number < len(self.lines)


def parse_dockerfile(text: str) -> Dockerfile:
    """Parse a Dockerfile.

    Raises:
        DefinitionError: Docker would reject the file, or versions of Docker read it differently. The message has the line.
    """
    lines = _Lines(text.removeprefix("\ufeff").split("\n"))
    escape = _directives(lines)
    return Dockerfile(instructions=tuple(_instructions(lines, escape)), escape=escape)


def here_word(word: str) -> tuple[str, bool, bool] | None:
    """Parse the word that starts a here-document, such as ``<<EOF``; return None for any other word.

    Returns:
        The name, whether variables in the text are expanded, and whether tabs at the beginning of lines are removed.

    Raises:
        DefinitionError: A quote is not closed.
    """
    match = _HEREDOC.fullmatch(word)
    if not match or not match[3]:
        return None
    plain = Lexer(escape="\\", keep_unset=True).words(match[3])
    raw = Lexer(escape="\\", keep_unset=True, raw=True).words(match[3])
    return (plain[0], plain == raw, match[2] == "-") if len(plain) == 1 else None


def _directives(lines: _Lines) -> str:
    """Read the parser directives at the top of the file; return the escape character."""
    escape = "\\"
    while lines.more:
        match = _DIRECTIVE.fullmatch(lines.lines[lines.number].strip())
        name = match[1].lower() if match else ""
        if not match or name not in ("escape", "syntax", "check"):
            break
        lines.next()
        if name in lines.seen:
            raise DefinitionError(f"line {lines.number}: the directive {name!r} appears twice; keep one")
        lines.seen.add(name)
        if name == "escape":
            if match[2] not in ("\\", "`"):
                raise DefinitionError(f"line {lines.number}: the escape character {match[2]!r} must be \\ or `")
            escape = match[2]
        if name == "syntax" and not _OWN_FRONTEND.fullmatch(match[2]):
            raise DefinitionError(
                f"line {lines.number}: the syntax {match[2]!r} is not Docker's own (docker/dockerfile), so the meaning of "
                "its instructions is unknown"
            )
    return escape


def _instructions(lines: _Lines, escape: str) -> Iterator[Instruction]:
    mark = re.escape(escape)
    continued = re.compile(rf"(^|[^{mark}]){mark}[ \t]*$")
    while lines.more:
        text = lines.next().rstrip("\r").lstrip()
        start = lines.number
        if text.startswith("#") or not text:
            continue
        goes_on = bool(continued.search(text))
        text = continued.sub(r"\1", text)
        while goes_on and lines.more:
            following = lines.next().rstrip("\r")
            if not following.strip() or following.lstrip().startswith("#"):
                continue
            goes_on = bool(continued.search(following))
            text += continued.sub(r"\1", following)
        if text.strip():
            yield _instruction(text.strip(), start, lines)


def _instruction(text: str, line: int, lines: _Lines) -> Instruction:
    name, *more = re.split(r"[\t\v\f\r ]+", text, maxsplit=1)
    name = name.upper()
    if name not in INSTRUCTIONS:
        raise DefinitionError(f"line {line}: {name!r} is not a Dockerfile instruction")
    flags, rest = _flags(more[0] if more else "")
    words = _array(rest, line) if name in _JSON else None
    if not rest:
        raise DefinitionError(f"line {line}: {name} has no argument; at least one is required")
    here = tuple(_here_documents(text, lines)) if name in _HERE and words is None else ()
    return Instruction(line=line, name=name, rest=rest, flags=flags, words=words, here=here)


def _flags(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Split off the flags (``--NAME=VALUE``), and remove quotes from them, as BuildKit's extractBuilderFlags does.

    Return names and values of the flags, and the text after the flags.
    """
    found: list[tuple[str, str]] = []
    end = 0
    while match := _FLAG.match(rest, end):
        end = match.end()
        if not match[1]:
            break
        name, _, value = _QUOTED.sub(_unquoted, match[1]).partition("=")
        found.append((name, value))
    return tuple(found), rest[end:].strip()


_FLAG = re.compile(r"""\s*--((?:\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\\])*+)(?=\s|$)""")
_QUOTED = re.compile(r"""\\(.)|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'""")


def _unquoted(match: re.Match[str]) -> str:
    """Return a quoted piece of a flag without the quotes around it; quotes inside the piece stay."""
    inner = match[2] if match[2] is not None else match[3]
    return match[1] if inner is None else re.sub(r"\\(.)", r"\1", inner)


def _array(rest: str, line: int) -> tuple[str, ...] | None:
    """Parse a JSON array of strings. Return None for any other text, which is in the shell form, as in Docker.

    Raises:
        DefinitionError: Text follows the array, an element is not a string, or a string contains a NUL character.
    """
    if not rest.startswith("["):
        return None
    try:
        value, end = _DECODER.raw_decode(rest)
    except RecursionError:
        raise DefinitionError(
            f"line {line}: the array {rest[:40]}... contains nested arrays; every element must be a string"
        ) from None
    except ValueError:
        return None
    if rest[end:].strip():
        raise DefinitionError(
            f"line {line}: {rest[end:].strip()!r} follows a JSON array, which versions of Docker parse differently; "
            "remove that text"
        )
    if not all(isinstance(word, str) for word in value):
        raise DefinitionError(
            f"line {line}: the array {rest[:80]} contains a value that is not a string; quote every element"
        )
    if any("\0" in word for word in value):
        raise DefinitionError(f"line {line}: the array {rest[:80]} contains a NUL character, which arguments cannot hold")
    # As in Go: a lone surrogate, which a file cannot contain, becomes the replacement character.
    return tuple(_LONE_SURROGATE.sub("\ufffd", word) for word in value)


def _no_json(constant: str) -> None:
    """Reject NaN and Infinity, which Python's parser accepts as JSON contrary to RFC 8259, section 6."""
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_no_json)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _here_documents(text: str, lines: _Lines) -> Iterator[HereDocument]:
    try:
        words = Lexer(escape="\\", keep_unset=True, raw=True, lenient=True).words(text)
    except DefinitionError:
        return  # as in BuildKit, where a line with an unclosed quote has no here-documents
    for word in words:
        found = here_word(word)
        if not found:
            continue
        name, expand, chomp = found
        start, body = lines.number, ""
        while True:
            if not lines.more:
                raise DefinitionError(
                    f"line {start}: the here-document {name!r} is not closed; add a line that contains only {name}"
                )
            raw = lines.next()
            bare = raw.rstrip("\r")
            if (bare.lstrip("\t") if chomp else bare) == name:
                break
            body += raw + "\n"
        yield HereDocument(name=name, text=body, expand=expand, chomp=chomp)


def pairs(instruction: Instruction, escape: str) -> tuple[tuple[str, str], ...]:
    """Parse ``NAME=VALUE ...`` or the old form ``NAME VALUE`` of ENV and LABEL; quotes are kept.

    Raises:
        DefinitionError: A name has no value.
    """
    words = split_words(instruction.rest, escape)
    if "=" not in words[0]:
        name, *value = re.split(r"[\t\v\f\r ]+", instruction.rest, maxsplit=1)
        if not value:
            raise instruction.refused("requires a name and a value")
        return ((name, value[0]),)
    if odd := next((word for word in words if "=" not in word), None):
        raise instruction.refused(f"contains {odd!r} without a '='; use NAME=VALUE, and quote spaces")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in words))


def listed(instruction: Instruction) -> tuple[str, ...]:
    """Return the arguments of an instruction that are a JSON array or words separated by white space."""
    if instruction.words is not None:
        return instruction.words
    return tuple(word for word in re.split(r"[\t\v\f\r ]+", instruction.rest) if not is_blank(word))
