"""How messages show what a person wrote."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.config.reading import found, joined


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        ("Zürich", '"Zürich"'),
        ("a\tb", r'"a\tb"'),
        ("x" * 100, '"' + "x" * 59 + '…"'),
        (True, "true"),
        (-3, "-3"),
        (10**200, "a very long number"),
        (1.5, "1.5"),
        ([], "an empty list"),
        ([1], "a list"),
        ({}, "an empty table"),
        ({"a": 1}, "a table"),
        (dt.date(2026, 11, 20), "the date or time 2026-11-20"),
        (dt.time(7, 32), "the date or time 07:32:00"),
    ],
)
def test_a_value_is_shown_as_its_file_says_it(value: object, shown: str) -> None:
    assert found(value) == shown


@given(st.text())
def test_a_value_is_shown_on_one_printable_line(text: str) -> None:
    assert found(text).isprintable()
    assert joined("jobs", text).isprintable()


def test_a_key_path_is_written_as_toml_writes_it() -> None:
    assert joined(joined(joined("", "jobs"), "my job"), 3) == 'jobs."my job"[3]'
