"""Memory and time, as people write them."""

import contextlib
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.config.units import parse_memory, parse_time
from hpcdeploy.errors import ConfigError

GB = 1024


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [
        ("32 GB", 32 * GB),
        ("32GB", 32 * GB),
        ("32 GiB", 32 * GB),
        ("32G", 32 * GB),
        ("32 gb", 32 * GB),
        (" 500\tMB ", 500),
        ("1.5 TB", 1536 * GB),
        ("0.1 GB", 103),
        ("1 KB", 1),
        ("1025 KB", 2),
        ("2 PB", 2 * GB**3),
    ],
)
def test_memory_as_people_write_it(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4 h", 14400),
        ("4h", 14400),
        ("90 min", 5400),
        ("1 d 12 h", 129600),
        ("1d 12h", 129600),
        ("1h30m", 5400),
        ("1.5 hours", 5400),
        ("0.1 s", 1),
        ("1 week", 604800),
        ("1:30:00", 5400),
        ("100:00:00", 360000),
        ("2-12:00:00", 216000),
        ("2-12:30", 217800),
        ("2-12", 216000),
    ],
)
def test_time_as_people_and_slurm_write_it(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "32",
            (
                'found "32"; expected an amount with its unit, such as "32 GB" or "500 MB"'
                ': the unit is missing, use "32 GB" or "32 MB"'
            ),
        ),
        ("32 bananas", 'found "32 bananas"; expected an amount with its unit, such as "32 GB" or "500 MB"'),
        ("0 GB", 'found "0 GB"; expected more than zero: an amount with its unit, such as "32 GB" or "500 MB"'),
    ],
)
def test_what_is_no_memory_is_refused_with_advice(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_memory(text)
    assert str(refused.value) == message


FORMS = 'a time with its unit, such as "4 h", "90 min" or "1 d 12 h", or days-hours:minutes:seconds as in "2-12:00:00"'


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("90", ': the unit is missing (minutes for Slurm, seconds for HTCondor), use "90 min" or "90 h"'),
        ("1:30", ': this means minutes and seconds for Slurm, use "1:30:00" for hours and minutes'),
        ("1:60:00", ""),
        ("4 months", ""),
        ("1h30", ""),
        ("4 h, 3 min", ""),
    ],
)
def test_what_is_no_time_is_refused_with_advice(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_time(text)
    assert str(refused.value) == f'found "{text}"; expected {FORMS}{hint}'


@pytest.mark.parametrize(
    "text", ["", " ", "-1 GB", "1,5 GB", "٣ GB", "1e3 GB", "1 GB\n", "0x10 GB", "9" * 5000 + " GB", "NaN GB", "∞ h"]
)
def test_what_looks_like_a_number_but_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_memory(text)
    with pytest.raises(ConfigError):
        parse_time(text)


@given(st.integers(1, 10**14), st.sampled_from([("MB", 1), ("GB", GB), ("TB", GB**2)]), st.integers(0, 999))
def test_memory_is_never_rounded_down(whole: int, unit: tuple[str, int], thousandths: int) -> None:
    assert parse_memory(f"{whole}.{thousandths:03} {unit[0]}") == math.ceil(
        Fraction(whole * 1000 + thousandths, 1000) * unit[1]
    )


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_slurms_clock_and_words_mean_the_same(days: int, hours: int, minutes: int, seconds: int) -> None:
    words = f"{days} d {hours} h {minutes} min {seconds} s"
    assert parse_time(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == parse_time(words)


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_a_refusal(text: str) -> None:
    for parse in (parse_memory, parse_time):
        with contextlib.suppress(ConfigError):
            assert parse(text) > 0
