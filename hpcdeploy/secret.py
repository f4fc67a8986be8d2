"""The value of a secret, which nothing shows by accident, and the taking of such values out of a text."""

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "***"
"""What stands where a secret stood."""

SHORTEST = 4
"""Characters of the shortest line that is masked: shorter ones stand everywhere, and a text full of masks tells them."""


_JSON_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_URL_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")

_LEFT_IN_URLS = ("", "/", "!*'()", "$&+,;=", "$&+:=@", ";,/?:@&=+$!*'()#")
"""What stays as it is in a URL besides letters, digits and ``-._~``: nothing; Python's ``quote``; encodeURIComponent
(ECMA-262, 19.2.6); Go's user and path segment (net/url, shouldEscape); encodeURI."""


class SecretValue:
    """The bytes of a secret. What prints, formats or pickles it gets no byte of it; `reveal` gives them all.

    ``variable`` is the variable of this process that it came from, which no child is to inherit; empty: it was a file.
    """

    __slots__ = ("_value", "variable")

    def __init__(self, value: bytes, variable: str = "") -> None:
        """Hold `value`, as it is: a line break at its end is part of it."""
        self._value = value
        self.variable = variable

    def reveal(self) -> bytes:
        """Return the value, for the one place that hands it to the build."""
        return self._value

    def __repr__(self) -> str:
        """Show that there is one."""
        return f"<{MASK}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be written anywhere."""
        raise TypeError("a secret is not pickled")


NO_SECRETS: Mapping[str, SecretValue] = MappingProxyType({})
"""The values by name of a build that asks for none."""


def masking(values: Iterable[SecretValue]) -> Callable[[str], str]:
    """Return a function that puts ``***`` in place of each line of the values that has 4 characters or more.

    A line is found as it stands, and as programs spell it that show it: quoted by a shell's trace, in JSON, in a URL. In
    base64 each line and the whole value are found, both with and without their line break, in lines of 64 or 76 characters
    too, and inside of a longer text (``user:TOKEN``). A longer text in base64 that is wrapped is found in part only. What a
    program cut into pieces or encoded otherwise is not found.
    """
    spellings = {spelling for value in values for spelling in _spellings(value.reveal()) if len(spelling) >= SHORTEST}
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))

    def mask(text: str) -> str:
        for spelling in longest_first:
            text = text.replace(spelling, MASK)
        return text

    return mask


def _spellings(value: bytes) -> Iterator[str]:
    yield from _in_base64(value)
    yield from _in_base64(value.rstrip(b"\r\n"))
    for raw in value.splitlines():  # at a lone carriage return too: what stands before it is overwritten on a terminal
        line = raw.decode(errors="replace").strip()
        yield line
        if len(line) < SHORTEST:
            continue
        yield shlex.quote(line).removeprefix("'").removesuffix("'")  # '"'"' for a quote: dash and Python
        yield line.replace("'", r"'\''")  # bash's trace
        yield from _in_json(line)
        yield from _in_url(line)
        for ending in (b"", b"\n", b"\r\n"):
            yield from _in_base64(raw + ending)
        yield from _in_base64(raw.strip())


def _in_json(line: str) -> Iterator[str]:
    """Give a text as JSON has it (RFC 8259, 7): a slash may stand behind a backslash, as PHP writes it, and Go and others
    escape what HTML could read (Go's encoding/json, SetEscapeHTML). Hexadecimal digits are of either case.
    """
    for text in (json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1]):
        for_html = re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)
        for spelling in (text, for_html):
            yield from _either_case(_JSON_ESCAPE, spelling)
            yield from _either_case(_JSON_ESCAPE, spelling.replace("/", "\\/"))


def _in_url(line: str) -> Iterator[str]:
    """Give a text as programs put it in a URL; they differ in what they leave, and in the case of digits (RFC 3986, 2.1)."""
    for safe in _LEFT_IN_URLS:
        yield from _either_case(_URL_ESCAPE, quote(line, safe=safe))
        yield from _either_case(_URL_ESCAPE, quote_plus(line, safe=safe))


def _either_case(escape: re.Pattern[str], text: str) -> Iterator[str]:
    yield text
    yield escape.sub(lambda match: match[0].lower(), text)
    yield escape.sub(lambda match: match[0][:2] + match[0][2:].upper() if match[0][0] == "\\" else match[0].upper(), text)


def _in_base64(value: bytes) -> Iterator[str]:
    """Give a value in base64 and its URL-safe form (RFC 4648): alone, wrapped, and behind one or two other bytes.

    ``base64`` wraps at 76 characters (coreutils), PEM at 64 (RFC 7468). Inside of a longer text a value is in one of three
    positions, and the characters at its ends hold bits of its neighbours too: given are those that the value alone decides
    (the same reasoning: actions/runner, docs/adrs/0297-base64-masking-trailing-characters.md).
    """
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        alone = encode(value).decode().rstrip("=")
        yield alone
        for width in (64, 76):
            if len(alone) > width:
                yield from (alone[start : start + width] for start in range(0, len(alone), width))
        for before in range(3):
            first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
            yield encode(bytes(before) + value).decode()[first:last]
