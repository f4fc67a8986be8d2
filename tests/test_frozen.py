import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from hpcdeploy.frozen import frozen


@frozen
class Base:
    """A class that another one extends, with a default and without."""

    name: str | None = None
    size: int = 1


@frozen
class Ours(Base):
    """A class of `frozen`."""

    name: str = field()
    more: tuple[str, ...] = ()
    table: Mapping[str, int] = field(default_factory=dict)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class TheirBase:
    name: str | None = None
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Theirs(TheirBase):
    name: str = field()
    more: tuple[str, ...] = ()
    table: Mapping[str, int] = field(default_factory=dict)
    secret: str = field(default="", repr=False)


GIVEN: tuple[dict[str, Any], ...] = (
    {"name": "a"},
    {"name": "a", "size": 2, "more": ("x",), "table": {"y": 1}, "secret": "z"},
    {"table": {"y": 1}, "more": ("x",), "name": "a"},
)


@pytest.mark.parametrize("given", GIVEN)
def test_a_value_is_as_one_of_dataclass(given: dict[str, Any]) -> None:
    ours, theirs = Ours(**given), Theirs(**given)
    assert is_dataclass(ours)
    assert asdict(ours) == asdict(theirs)
    assert list(vars(ours)) == list(vars(theirs))
    assert [one.name for one in fields(Ours)] == [one.name for one in fields(Theirs)]
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert asdict(replace(ours, size=7)) == asdict(replace(theirs, size=7))
    assert ours == Ours(**given) == copy.deepcopy(ours) == pickle.loads(pickle.dumps(ours))
    assert ours != replace(ours, size=9)
    others: tuple[object, ...] = (theirs, "a")
    assert ours not in others


def test_equal_values_have_one_hash() -> None:
    assert {Base(name="a"): 1}[Base(name="a", size=1)] == 1
    assert hash(Base(name="a")) != hash(Base(name="b"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(name="a"))


def test_each_value_has_its_own_default() -> None:
    assert Ours(name="a").table is not Ours(name="a").table


@pytest.mark.parametrize("name", ["name", "other"])
def test_a_value_does_not_change(name: str) -> None:
    ours = Ours(name="a")
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(ours, name, "b")
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
        del ours.name
    assert ours.name == "a"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"Ours.__init__\(\) missing a required keyword-only argument: 'name'"),
        ({"name": "a", "other": 1}, r"Ours.__init__\(\) got an unexpected keyword argument: 'other'"),
        ({"other": 1}, r"Ours.__init__\(\) missing a required keyword-only argument: 'name'"),
    ],
)
def test_wrong_arguments_are_a_type_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Ours(**given)
    with pytest.raises(TypeError):
        Ours("a")  # type: ignore[call-arg] # by position
