"""The order in which tests start, and how many run at once."""

from tests import order
from tests.machine import workers
from tests.order import SMALL_FILE, UNKNOWN_FILE, units

BIG = {"big.py::a": SMALL_FILE - 60, "big.py::b": SMALL_FILE - 20}


def test_a_test_of_a_long_file_is_a_unit_and_the_longest_starts_first() -> None:
    tests = ["big.py::a", "small.py::x", "big.py::b", "small.py::y"]
    found = units(tests, {**BIG, "small.py::x": 1.0})
    assert list(found.items()) == [
        ("big.py::b", "big.py::b"),
        ("big.py::a", "big.py::a"),
        ("small.py::x", "small.py"),
        ("small.py::y", "small.py"),
    ]


def test_files_that_share_a_lab_are_one_unit_and_keep_their_order() -> None:
    one, two = (file for file, unit in order.TOGETHER.items() if unit == "older Slurm")
    tests = [f"{one}::a", f"{one}::b", "big.py::a", "big.py::b", f"{two}::a"]
    found = units(tests, {**BIG, f"{one}::a": 10.0, f"{one}::b": SMALL_FILE, f"{two}::a": 30.0})
    assert list(found) == [f"{one}::a", f"{one}::b", f"{two}::a", "big.py::b", "big.py::a"]
    assert found[f"{one}::a"] == found[f"{two}::a"] == "older Slurm"


def test_a_file_that_was_never_measured_is_one_unit_of_some_length() -> None:
    tests = ["known.py::a", *(f"new.py::{number}" for number in range(100))]
    assert list(units(tests, {"known.py::a": UNKNOWN_FILE / 2}).values()) == ["new.py"] * 100 + ["known.py"]
    assert list(units(tests, {"known.py::a": UNKNOWN_FILE * 2}).values()) == ["known.py"] + ["new.py"] * 100


def test_workers_follow_cores_and_memory() -> None:
    assert workers(2, 20_000) == 8
    assert workers(16, 100_000) == 64
    assert workers(2, 3_500) == 5
    assert workers(2, 1_000) == 1
