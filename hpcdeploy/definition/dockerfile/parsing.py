"""Reads a Dockerfile into its instructions: directives, continuation lines, comments, here-documents, flags, JSON forms.

Rules: the Dockerfile reference (https://docs.docker.com/reference/dockerfile/) and BuildKit's parser
(``frontend/dockerfile/parser``), which decides where the reference is silent. Own code, since no library fits:
dockerfile-parse 2.0.1 knows no here-documents (it reads their lines as instructions) and takes comments out of continuation
lines wrongly; ``dockerfile`` 3.4.0 is BuildKit's own parser, but a Go runtime inside this process, and it tells neither the
escape character nor which here-documents are quoted. The tests hold this reader against the latter.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpcdeploy.definition.dockerfile.words import Lexer, is_blank, split_words
from hpcdeploy.errors import DefinitionError

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


@dataclass(frozen=True, kw_only=True)
class HereDocument:
    """A here-document of an instruction; ``expand`` is false where its word was quoted, ``chomp`` is that of ``<<-``."""

    name: str
    text: str
    expand: bool
    chomp: bool

    @property
    def content(self) -> str:
        """The text as it reaches a file: without the tabs that ``<<-`` takes away."""
        return re.sub(r"^\t+", "", self.text, flags=re.MULTILINE) if self.chomp else self.text


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its name in capitals, its flags in order, and what follows them, joined to one line.

    ``words`` is that as a JSON array, where it is one (None: it is not).
    """

    line: int
    name: str
    rest: str
    flags: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] | None = None
    here: tuple[HereDocument, ...] = ()

    def refused(self, reason: str) -> DefinitionError:
        """Return the error that this instruction cannot be translated: its line, its name, the reason."""
        return DefinitionError(f"line {self.line}: {self.name} {reason}")


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """A Dockerfile's instructions, and the character that escapes in it."""

    instructions: tuple[Instruction, ...]
    escape: str


@dataclass
class _Lines:
    """The lines that are still to be read, and how many were."""

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
    """Read a Dockerfile; `DefinitionError`, with the line, for what Docker would not read either."""
    lines = _Lines(text.removeprefix("\ufeff").split("\n"))
    escape = _directives(lines)
    return Dockerfile(instructions=tuple(_instructions(lines, escape)), escape=escape)


def here_word(word: str) -> tuple[str, bool, bool] | None:
    """Read ``<<EOF``: the name, whether its text is expanded, whether tabs are taken away. None for any other word."""
    match = _HEREDOC.fullmatch(word)
    if not match or not match[3]:
        return None
    plain = Lexer(escape="\\", keep_unset=True).words(match[3])
    raw = Lexer(escape="\\", keep_unset=True, raw=True).words(match[3])
    return (plain[0], plain == raw, match[2] == "-") if len(plain) == 1 else None


def _directives(lines: _Lines) -> str:
    """Read the parser directives at the top; return the escape character."""
    escape = "\\"
    while lines.more:
        match = _DIRECTIVE.fullmatch(lines.lines[lines.number].strip())
        name = match[1].lower() if match else ""
        if not match or name not in ("escape", "syntax", "check"):
            break
        lines.next()
        if name in lines.seen:
            raise DefinitionError(f"line {lines.number}: the directive {name!r} stands here for the second time; keep one")
        lines.seen.add(name)
        if name == "escape":
            if match[2] not in ("\\", "`"):
                raise DefinitionError(f"line {lines.number}: the escape character {match[2]!r} is neither \\ nor `")
            escape = match[2]
        if name == "syntax" and not _OWN_FRONTEND.fullmatch(match[2]):
            raise DefinitionError(
                f"line {lines.number}: the syntax {match[2]!r} is not Docker's own (docker/dockerfile), so that what its "
                "instructions mean is not known here"
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
        raise DefinitionError(f"line {line}: {name!r} is no instruction of a Dockerfile")
    flags, rest = _flags(more[0] if more else "")
    words = _array(rest, line) if name in _JSON else None
    if not rest:
        raise DefinitionError(f"line {line}: {name} stands alone; it needs at least one word")
    here = tuple(_here_documents(text, lines)) if name in _HERE and words is None else ()
    return Instruction(line=line, name=name, rest=rest, flags=flags, words=words, here=here)


def _flags(rest: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Cut the words that begin with ``--`` off; quotes in them are taken away, as BuildKit's extractBuilderFlags does."""
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
    """Return a piece of a flag without its own quotes; other quotes between them stay."""
    inner = match[2] if match[2] is not None else match[3]
    return match[1] if inner is None else re.sub(r"\\(.)", r"\1", inner)


def _array(rest: str, line: int) -> tuple[str, ...] | None:
    """Read a JSON array of strings; None where it is no JSON array, which makes it the shell form, as in Docker."""
    if not rest.startswith("["):
        return None
    try:
        value, end = _DECODER.raw_decode(rest)
    except RecursionError:
        raise DefinitionError(
            f"line {line}: the array {rest[:40]}... holds arrays in arrays; every word is a string"
        ) from None
    except ValueError:
        return None
    if rest[end:].strip():
        raise DefinitionError(
            f"line {line}: {rest[end:].strip()!r} follows a JSON array, which Docker's versions read differently"
        )
    if not all(isinstance(word, str) for word in value):
        raise DefinitionError(f"line {line}: the array {rest[:80]} holds something that is no string; quote every word")
    if any("\0" in word for word in value):
        raise DefinitionError(f"line {line}: the array {rest[:80]} holds a NUL character, which no program can be given")
    # As Go: half of a pair of surrogates, which no file can hold, is the character for what cannot be read.
    return tuple(_HALF_A_PAIR.sub("\ufffd", word) for word in value)


def _no_json(constant: str) -> None:
    """Refuse what Python takes for JSON and nobody else does (RFC 8259, section 6): NaN, Infinity."""
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_no_json)
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def _here_documents(text: str, lines: _Lines) -> Iterator[HereDocument]:
    try:
        words = Lexer(escape="\\", keep_unset=True, raw=True, lenient=True).words(text)
    except DefinitionError:
        return  # as BuildKit: a line with an open quote has none
    for word in words:
        found = here_word(word)
        if not found:
            continue
        name, expand, chomp = found
        start, body = lines.number, ""
        while True:
            if not lines.more:
                raise DefinitionError(f"line {start}: the here-document {name!r} has no end; add a line with {name} alone")
            raw = lines.next()
            bare = raw.rstrip("\r")
            if (bare.lstrip("\t") if chomp else bare) == name:
                break
            body += raw + "\n"
        yield HereDocument(name=name, text=body, expand=expand, chomp=chomp)


def pairs(instruction: Instruction, escape: str) -> tuple[tuple[str, str], ...]:
    """Read ``NAME=VALUE ...`` or the old ``NAME VALUE`` of ENV and LABEL; quotes are still in place."""
    words = split_words(instruction.rest, escape)
    if "=" not in words[0]:
        name, *value = re.split(r"[\t\v\f\r ]+", instruction.rest, maxsplit=1)
        if not value:
            raise instruction.refused("needs a name and a value")
        return ((name, value[0]),)
    if odd := next((word for word in words if "=" not in word), None):
        raise instruction.refused(f"holds {odd!r} without a '='; write NAME=VALUE, and quote blanks")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in words))


def listed(instruction: Instruction) -> tuple[str, ...]:
    """Return the words of an instruction that takes an array or words between blanks."""
    if instruction.words is not None:
        return instruction.words
    return tuple(word for word in re.split(r"[\t\v\f\r ]+", instruction.rest) if not is_blank(word))
