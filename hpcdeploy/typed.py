"""Values that were read from a file, checked against what a dataclass says of them."""

import types
from collections.abc import Hashable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

LARGEST = 2**53
"""Whole numbers beyond this are no sizes, times or counts, and more than many readers of JSON keep (RFC 8259, section 6)."""


def typed(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass `kind` of `values`, in which lists stand for tuples, and strings for an enumeration's values.

    Raises `TypeError` and `ValueError` where a field is missing or unknown, or a value is not what its annotation says.
    """
    hints = hints_of(cast("Hashable", kind))
    if unknown := sorted(set(values) - set(hints)):
        raise TypeError(f"unknown field {unknown[0]}")
    return kind(**{name: fitted(value, hints[name], name) for name, value in values.items()})


@cache
def hints_of(kind: Hashable) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass."""
    hints = get_type_hints(cast("type", kind))
    return {field.name: hints[field.name] for field in fields(cast("Any", kind))}


def fitted(value: Any, hint: Any, name: str) -> Any:  # noqa: ANN401 - any annotation, and any value of JSON
    """Return `value` as its annotation `hint` wants it; raises `TypeError` and `ValueError`, which name the field `name`."""
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
    elif _is_plain(value, hint, origin):
        return value
    raise TypeError(f"{name} is {type(value).__name__} {str(value)[:40]!r}")


def _is_plain(value: object, hint: object, origin: object) -> bool:
    """Tell whether `value` is the mapping, or the string, number or truth value, that `hint` names."""
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return type(value) is hint and not (isinstance(value, int) and abs(value) > LARGEST)
