"""Read JSON that came from outside: a file, a registry's answer, a program's output."""

import json
import re
from typing import Any

DEEPEST = 100
"""Levels of nesting that are read. No format that hpcdeploy reads has more than ten."""

MOST = 1_000_000
"""Values, and keys of objects, that are read: each takes up to 80 bytes of memory, while ``[]`` is two bytes of text."""

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes, *, most: int = MOST) -> Any:  # noqa: ANN401 - the caller checks what it got
    """Return the value that `text` stands for; bytes are decoded as `json.loads` does (UTF-8, UTF-16 or UTF-32).

    Raises `ValueError` for all that cannot be used: what is not JSON, what may hold more than `most` values, text nested
    deeper than `DEEPEST` (Python's reader, and later whoever copies or prints the value, would end in `RecursionError`) and
    half a surrogate pair (``\\ud800``), which is JSON (RFC 8259, section 8.2) and cannot be written to any file.
    """
    decoded = text if isinstance(text, str) else text.decode(json.detect_encoding(text))
    # Each comma, colon and bracket makes at most one; those in strings count too, which spares a look at every character.
    if len(decoded) > most and sum(map(decoded.count, ",:[{")) > most:
        raise ValueError(f"holds more than {most} values")
    try:
        value = json.loads(decoded)
    except RecursionError:
        raise _too_deep() from None
    if decoded.count("[") + decoded.count("{") > DEEPEST:
        _check_depth(value)
    if _HALF_A_PAIR.search(decoded):
        _check_pairs(decoded, value)
    return value


def _check_depth(value: object) -> None:
    """Raise `ValueError` where containers are nested deeper than `DEEPEST`; level by level, so without recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _check_pairs(text: str, value: object) -> None:
    """Raise `ValueError` for half a pair that an escape stands for; `text` may itself hold bytes read as surrogateescape."""
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        if error.object != text:
            raise ValueError("holds half of a pair of surrogates, which is no character") from None


def _too_deep() -> ValueError:
    return ValueError(f"nested deeper than {DEEPEST} levels")
