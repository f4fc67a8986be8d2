"""Hold the values of secrets so that they are not printed by accident, and mask them in text."""

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "***"
"""The replacement for a secret in text."""

SHORTEST = 4
"""Minimum length in characters of a line that is masked.

A shorter line occurs in ordinary text by chance, and the masks there would reveal what it is.
"""


_JSON_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_URL_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")

_LEFT_IN_URLS = ("", "/", "!*'()", "$&+,;=", "$&+:=@", ";,/?:@&=+$!*'()#")
"""The characters that a program leaves unescaped in URLs, besides letters, digits and ``-._~``. One entry per program:

- no other character
- Python's ``quote``
- encodeURIComponent (ECMA-262, 19.2.6)
- Go's user names, and Go's path segments (net/url, shouldEscape)
- encodeURI
"""


class SecretValue:
    """The bytes of a secret. Only `reveal` returns the bytes; printing, formatting or pickling the object does not.

    Attributes:
        variable: The environment variable of this process that contained the secret, and that child processes must not
            inherit. Empty if the secret was in a file.
    """

    __slots__ = ("_value", "variable")

    def __init__(self, value: bytes, variable: str = "") -> None:
        """Store `value` unchanged, including a final line break."""
        self._value = value
        self.variable = variable

    def reveal(self) -> bytes:
        """Return the value, for the one place that passes it to the build."""
        return self._value

    def __repr__(self) -> str:
        """Return a mask."""
        return f"<{MASK}>"

    def __reduce__(self) -> NoReturn:
        """Prevent pickling.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a secret cannot be pickled")


NO_SECRETS: Mapping[str, SecretValue] = MappingProxyType({})
"""The values by name of a build without secrets."""


def masking(values: Iterable[SecretValue]) -> Callable[[str], str]:
    """Return a function that masks secrets in a text: it replaces each line of the values by `MASK`.

    Lines with fewer than `SHORTEST` characters are not masked. These forms of a line are found:

    - the line as it is, quoted in a shell's trace, in JSON, or in a URL
    - the line in base64, with and without its line break, wrapped at 64 or 76 characters, or as a part of a longer text that
      is encoded (``user:TOKEN``). If this longer text is wrapped, only a part of the line is found.

    The complete value is found in base64 as well. A value that a program splits or encodes in another way is not found.
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
    for raw in value.splitlines():  # also at a carriage return, where a terminal overwrites the text before it
        line = raw.decode(errors="replace").strip()
        yield line
        if len(line) < SHORTEST:
            continue
        yield shlex.quote(line).removeprefix("'").removesuffix("'")  # dash and Python write a quote as '"'"'
        yield line.replace("'", r"'\''")  # bash writes a quote in a trace in this way
        yield from _in_json(line)
        yield from _in_url(line)
        for ending in (b"", b"\n", b"\r\n"):
            yield from _in_base64(raw + ending)
        yield from _in_base64(raw.strip())


def _in_json(line: str) -> Iterator[str]:
    """Yield the spellings of a text in JSON (RFC 8259, 7), with hexadecimal digits in lower and in upper case.

    PHP escapes slashes with a backslash. Go and others escape characters with a meaning in HTML (Go's encoding/json,
    SetEscapeHTML).
    """
    for text in (json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1]):
        for_html = re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)
        for spelling in (text, for_html):
            yield from _either_case(_JSON_ESCAPE, spelling)
            yield from _either_case(_JSON_ESCAPE, spelling.replace("/", "\\/"))


def _in_url(line: str) -> Iterator[str]:
    """Yield the spellings of a text in a URL (RFC 3986, 2.1).

    Programs differ in the characters that they escape, and in the case of hexadecimal digits.
    """
    for safe in _LEFT_IN_URLS:
        yield from _either_case(_URL_ESCAPE, quote(line, safe=safe))
        yield from _either_case(_URL_ESCAPE, quote_plus(line, safe=safe))


def _either_case(escape: re.Pattern[str], text: str) -> Iterator[str]:
    yield text
    yield escape.sub(lambda match: match[0].lower(), text)
    yield escape.sub(lambda match: match[0][:2] + match[0][2:].upper() if match[0][0] == "\\" else match[0].upper(), text)


def _in_base64(value: bytes) -> Iterator[str]:
    """Yield a value in base64 and in its URL-safe form (RFC 4648): alone, wrapped, and after one or two other bytes.

    ``base64`` wraps at 76 characters (coreutils), PEM at 64 (RFC 7468). base64 encodes groups of three bytes, so in a longer
    text a value may begin at any of three positions of a group. There the first and the last characters of the encoded value
    depend on the bytes before and after it, so these characters are left out. (Source of this method: actions/runner,
    docs/adrs/0297-base64-masking-trailing-characters.md.)
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
