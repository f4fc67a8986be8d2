"""The order in which tests start, and how many run at once."""

from tests.machine import workers
from tests.order import UNKNOWN_FILE, id_of, units

BIG = {"big.py::a": 40.0, "big.py::b": 80.0}


def test_a_test_of_a_long_file_is_a_unit_and_the_longest_starts_first() -> None:
    tests = ["big.py::a", "small.py::x", "big.py::b", "small.py::y"]
    found = units(tests, {}, {**BIG, "small.py::x": 1.0})
    assert list(found.items()) == [
        ("big.py::b", "big.py::b"),
        ("big.py::a", "big.py::a"),
        ("small.py::x", "small.py"),
        ("small.py::y", "small.py"),
    ]


def test_a_unit_keeps_the_order_of_its_tests_though_the_second_takes_longer() -> None:
    tests = ["big.py::a", "big.py::b", "big.py::c"]
    found = units(tests, {"big.py::a": "pair", "big.py::b": "pair"}, {**BIG, "big.py::c": 119.0})
    assert list(found.items()) == [("big.py::a", "pair"), ("big.py::b", "pair"), ("big.py::c", "big.py::c")]


def test_a_file_that_was_never_measured_comes_before_what_is_shorter_than_expected() -> None:
    tests = ["known.py::a", *(f"new.py::{number}" for number in range(100))]
    assert list(units(tests, {}, {"known.py::a": UNKNOWN_FILE / 2}).values()) == ["new.py"] * 100 + ["known.py"]
    assert list(units(tests, {}, {"known.py::a": UNKNOWN_FILE * 2}).values()) == ["known.py"] + ["new.py"] * 100


def test_the_group_that_xdist_writes_behind_an_id_is_no_part_of_it() -> None:
    assert id_of("a.py::t[x@y]@a.py") == "a.py::t[x@y]"
    assert id_of("a.py::t[x@y]") == "a.py::t[x@y]"


def test_workers_follow_cores_and_memory() -> None:
    assert workers(2, 20_000) == 8
    assert workers(16, 100_000) == 64
    assert workers(2, 3_500) == 5
    assert workers(2, 1_000) == 1
