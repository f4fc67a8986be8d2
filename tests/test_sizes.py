import pytest

from hpcdeploy.plain_text import written


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "?"), (999, "999 B"), (1000, "1.00 kB"), (12_345, "12.3 kB"), (999_499, "999 kB"), (999_600, "1.00 MB"),
     (3_965_404_502, "3.97 GB"), (-1_500_000, "-1.50 MB"), (5 * 10**15, "5000 TB")],
)  # fmt: skip
def test_sizes_are_written_in_three_digits(size: int | None, text: str) -> None:
    assert written(size) == text
