"""Check values from files, clusters and registries: whole numbers, times, JSON, and the fields of dataclasses."""

import json
import re
import types
from collections.abc import Hashable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

LARGEST = 2**63 - 1
"""Maximum of a whole number. Sizes of files, times in ns and counters of other programs are signed 64-bit numbers."""

LATEST = 253_402_300_799
"""The end of the year 9999 in seconds since 1970: the last time that Python's `datetime` supports."""

MOST_TASKS = 4_000_001
"""Maximum number of tasks of an array: the upper limit of Slurm's MaxArraySize (slurm.conf(5))."""

HIGHEST_EXIT_CODE = 255
"""Maximum exit code of a program (wait(2), WEXITSTATUS: eight bits)."""


def whole_number(value: object, most: int = LARGEST) -> int | None:
    """Return `value` as a number from 0 to `most`; None if `value` is not such a number.

    An int, a float without a fraction, and a text of ASCII digits are accepted, because programs write the same number in
    each of these ways. A bool is rejected. Digits of other scripts are rejected, because ``str.isdigit`` accepts some that
    ``int`` rejects.
    """
    number = -1
    if isinstance(value, str):
        number = int(value) if value.isascii() and value.isdigit() and len(value) <= len(str(LARGEST)) else -1
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else -1
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    return number if 0 <= number <= most else None


def moment(value: object) -> int:
    """Return a time in seconds since 1970. If `value` is not a whole number from 0 to `LATEST`, return 0 (unknown)."""
    return whole_number(value, LATEST) or 0


DEEPEST = 100
"""Maximum depth of nested lists and objects in JSON. No format that hpcdeploy reads has more than ten levels."""

MOST = 1_000_000
"""Maximum number of values and keys in a JSON text.

A limit of the text's length is not enough: a value needs up to 80 bytes of memory, but may have only two bytes of text
(``[]``).
"""

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes, *, most: int = MOST) -> Any:  # noqa: ANN401 - the caller checks the value
    """Return the value of a JSON text; bytes are decoded as `json.loads` decodes them (UTF-8, UTF-16 or UTF-32).

    Raises:
        ValueError: One of these:

            - `text` is not JSON.
            - `text` may have more than `most` values and keys. The estimate also counts separators inside strings, so a
              text with fewer values may be rejected.
            - The nesting is deeper than `DEEPEST`. `json.loads` would raise `RecursionError` for very deep nesting.
            - A string contains half a surrogate pair (``\\ud800``). It is valid JSON (RFC 8259, section 8.2), but cannot be
              encoded as UTF-8.
    """
    decoded = text if isinstance(text, str) else text.decode(json.detect_encoding(text))
    # Each comma, colon and opening bracket starts at most one value. Counting all of them, even those inside strings, is
    # faster than parsing.
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
    """Raise `ValueError` if lists and objects are nested deeper than `DEEPEST` levels."""
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
    """Raise `ValueError` if an escape in `text` is half a surrogate pair; `value` is the value of `text`.

    An unescaped half pair is accepted, because Python decodes bytes that are not UTF-8 to half pairs (surrogateescape). A
    text with an unescaped half pair is not checked for escapes.
    """
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        if error.object != text:
            raise ValueError("has half of a surrogate pair, which is not a character") from None


def _too_deep() -> ValueError:
    return ValueError(f"nested deeper than {DEEPEST} levels")


T = TypeVar("T")

LARGEST_EXACT = 2**53
"""Maximum absolute value of a whole number in a dataclass (`typed`).

No size, time (in seconds) or count in these dataclasses is larger, and many JSON parsers round larger numbers (RFC 8259,
section 6).
"""


def typed(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass `kind` with fields from `values`, which were read from JSON.

    A list is converted to a tuple, and the value of an enumeration to its member, if the field has this type.

    Raises:
        TypeError: A field is missing or unknown, or a value has the wrong type.
        ValueError: A value is not one of those that its enumeration or `Literal` allows.
    """
    hints = hints_of(cast("Hashable", kind))
    if unknown := sorted(set(values) - set(hints)):
        raise TypeError(f"unknown field {unknown[0]}")
    return kind(**{name: fitted(value, hints[name], name) for name, value in values.items()})


@cache
def hints_of(kind: Hashable) -> dict[str, Any]:
    """Return the type of each field of a dataclass, by the name of the field."""
    hints = get_type_hints(cast("type", kind))
    return {field.name: hints[field.name] for field in fields(cast("Any", kind))}


def fitted(value: Any, hint: Any, name: str) -> Any:  # noqa: ANN401 - any annotation, and any value of JSON
    """Convert `value`, which was read from JSON, to the type `hint` of the field `name`.

    Raises:
        TypeError: The value has the wrong type.
        ValueError: The value is not one of those that its enumeration or `Literal` allows.
    """
    # Most values are strings, numbers and booleans, so they are checked first. This check reduced the CPU time for reading
    # 1,000 runs from 40 to 23 ms.
    if type(value) is hint and not (isinstance(value, int) and abs(value) > LARGEST_EXACT):
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if hint is object or hint is Any:
        return value
    if origin in (Union, types.UnionType):
        plain = [one for one in inner if one is not type(None)]
        return None if value is None and len(plain) < len(inner) else fitted(value, plain[0], name)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{name} is {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if inner[-1] is Ellipsis:
            return tuple(fitted(one, inner[0], name) for one in value)
        if len(value) == len(inner):
            return tuple(fitted(one, what, name) for one, what in zip(value, inner, strict=True))
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    elif hasattr(hint, "__dataclass_fields__") and isinstance(value, Mapping):
        return typed(hint, value)
    elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return value
    raise TypeError(f"{name} is {type(value).__name__} {str(value)[:40]!r}")
