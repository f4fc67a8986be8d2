"""Read whole numbers that came from outside: a scheduler's answer, a file's listing, a registry's JSON."""

LARGEST = 2**63 - 1
"""The largest number that is read: files, times in ns and counters are 64 bits wide."""

LATEST = 253_402_300_799
"""Seconds from 1970 to the end of the year 9999: the last time that Python's `datetime` can write."""

MOST_TASKS = 4_000_001
"""Tasks of one array: the upper limit of Slurm's MaxArraySize (slurm.conf(5))."""

HIGHEST_EXIT_CODE = 255
"""The highest exit code of a program (wait(2), WEXITSTATUS: eight bits)."""


def whole_number(value: object, most: int = LARGEST) -> int | None:
    """Return `value` as a number from 0 to `most`, or None where it is none.

    Taken are an int, a float without a fraction and ASCII digits: programs print the same number in each of these ways. A
    bool is no number, and neither are other scripts' digits, which ``str.isdigit`` takes and ``int`` may not.
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
    """Return a time in seconds since 1970; 0, which stands for an unknown time, where `value` is none up to `LATEST`."""
    return whole_number(value, LATEST) or 0
