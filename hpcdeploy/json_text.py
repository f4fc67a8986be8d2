"""Parse JSON from outside: a file, a registry's answer, a program's output."""

import json
import re
from typing import Any

DEEPEST = 100
"""Maximum depth of nesting. No format that hpcdeploy reads has more than ten levels."""

MOST = 1_000_000
"""Maximum number of values and keys: each needs up to 80 bytes of memory, while ``[]`` is two bytes of text."""

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes, *, most: int = MOST) -> Any:  # noqa: ANN401 - the caller checks the value
    """Return the value of a JSON text; bytes are decoded as by `json.loads` (UTF-8, UTF-16 or UTF-32).

    Raises:
        ValueError: `text` is not JSON, or may have more than `most` values. It is also raised for nesting deeper than
            `DEEPEST`, where Python's own functions would raise `RecursionError`, and for half a surrogate pair
            (``\\ud800``), which is valid JSON (RFC 8259, section 8.2) but cannot be written to a file.
    """
    decoded = text if isinstance(text, str) else text.decode(json.detect_encoding(text))
    # Each comma, colon and bracket makes at most one value; those in strings count too, which avoids checking every
    # character.
    if len(decoded) > most and sum(map(decoded.count, ",:[{")) > most:
        raise ValueError(f"has more than {most} values")
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
    """Raise `ValueError` if containers are nested deeper than `DEEPEST`; level by level, without recursion."""
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
    """Raise `ValueError` for half a surrogate pair from an escape; `text` may have surrogateescape bytes."""
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        if error.object != text:
            raise ValueError("has half of a surrogate pair, which is not a character") from None


def _too_deep() -> ValueError:
    return ValueError(f"nested deeper than {DEEPEST} levels")
