"""Parse whole numbers from outside: a scheduler's output, a file's listing, a registry's JSON."""

LARGEST = 2**63 - 1
"""Maximum: files, times in ns and counters have 64 bits."""

LATEST = 253_402_300_799
"""The end of the year 9999 in seconds since 1970: the last time that Python's `datetime` supports."""

MOST_TASKS = 4_000_001
"""Maximum number of tasks of an array: the upper limit of Slurm's MaxArraySize (slurm.conf(5))."""

HIGHEST_EXIT_CODE = 255
"""Maximum exit code of a program (wait(2), WEXITSTATUS: eight bits)."""


def whole_number(value: object, most: int = LARGEST) -> int | None:
    """Return `value` as a number from 0 to `most`; None for anything else.

    Accepted are an int, a float without a fraction, and ASCII digits, because programs print the same number in each of
    these ways. A bool is not a number, nor are digits of other scripts, which ``str.isdigit`` accepts but ``int`` may not.
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
    """Return a time in seconds since 1970; 0, which means unknown, if `value` is not a number up to `LATEST`."""
    return whole_number(value, LATEST) or 0
