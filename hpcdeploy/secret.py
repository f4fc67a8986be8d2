"""The value of a secret, which nothing shows by accident, and the taking of such values out of a text."""

import base64
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "***"
"""What stands where a secret stood."""

SHORTEST = 4
"""Characters of the shortest line that is masked: shorter ones stand everywhere, and a text full of masks tells them."""


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

    A line is found as it stands, and as programs spell it that show it: quoted by a shell's trace, in JSON, in a URL; the
    whole value in base64 too. What a program cut into pieces or encoded otherwise is not found.
    """
    spellings = {spelling for value in values for spelling in _spellings(value.reveal()) if len(spelling) >= SHORTEST}
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))

    def mask(text: str) -> str:
        for spelling in longest_first:
            text = text.replace(spelling, MASK)
        return text

    return mask


def _spellings(value: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(value).decode().rstrip("=")
    for raw in value.split(b"\n"):
        line = raw.decode(errors="replace").strip()
        yield line
        if len(line) < SHORTEST:
            continue
        yield shlex.quote(line).removeprefix("'").removesuffix("'")  # '"'"' for a quote: dash and Python
        yield line.replace("'", r"'\''")  # bash's trace
        yield json.dumps(line)[1:-1]
        yield json.dumps(line, ensure_ascii=False)[1:-1]
        yield quote(line, safe="")
        yield quote_plus(line)
