"""Define frozen dataclasses that need little CPU time at import."""

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from functools import cache
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """Make `kind` a dataclass like ``@dataclass(frozen=True, kw_only=True)``, but share its methods with all such classes.

    `dataclasses.dataclass` generates and compiles six methods for each class, which takes 0.46 ms of CPU time. With shared
    methods it takes 0.02 ms (Python 3.11). For the 152 classes of ``hpcdeploy render`` this saved about 67 of 177 ms.

    `dataclasses.fields`, `replace` and `asdict` accept the class. A method ``__post_init__`` is not called.
    """
    made = dataclass(kw_only=True, init=False, repr=False, eq=False)(kind)
    for name, method in _METHODS.items():
        setattr(made, name, method)
    return made


@cache
def _arguments(kind: Any) -> tuple[dict[str, Any], frozenset[str], tuple[tuple[str, Callable[[], Any]], ...]]:  # noqa: ANN401
    """Return three values for the constructor of the class `kind`.

    - the default of each field by name, in the order of the fields (`dataclasses.MISSING` if the field has none)
    - the names of the fields without a default
    - the name and the default factory of each field with a factory
    """
    declared = fields(kind)
    return (
        {one.name: one.default for one in declared},
        frozenset(one.name for one in declared if one.default is MISSING and one.default_factory is MISSING),
        tuple((one.name, one.default_factory) for one in declared if one.default_factory is not MISSING),
    )


_set = object.__setattr__


def _init(self: Any, /, **given: Any) -> None:  # noqa: ANN401 - a class of `frozen`, and what its fields take
    defaults, required, factories = _arguments(self.__class__)
    values = defaults | given
    if len(values) > len(defaults) or not required <= given.keys():
        _refuse(type(self), required - given.keys(), given.keys() - defaults.keys())
    for name, make in factories:
        if name not in given:
            values[name] = make()
    for name, value in values.items():
        _set(self, name, value)


def _refuse(kind: type, missing: frozenset[str], unknown: set[str]) -> NoReturn:
    problem = "missing a required keyword-only argument" if missing else "got an unexpected keyword argument"
    raise TypeError(f"{kind.__qualname__}.__init__() {problem}: {min(missing or unknown)!r}")


def _repr(self: Any) -> str:  # noqa: ANN401 - a class of `frozen`
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _compared(value: Any) -> tuple[object, ...]:  # noqa: ANN401 - the same
    return tuple([getattr(value, name) for name in _arguments(value.__class__)[0]])


def _eq(self: object, other: object) -> object:  # bool, or NotImplemented
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _compared(self) == _compared(other)


def _hash(self: object) -> int:
    return hash(_compared(self))


def _setattr(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
}
