"""Parse amounts of memory, disk space and time, with the same meaning for every scheduler.

Values are never rounded down: a job that requests ``1.5 MB`` gets 2 MiB, and ``0.5 s`` becomes a second.
"""

import re
from collections.abc import Mapping

from hpcdeploy.config.reading import found
from hpcdeploy.errors import ConfigError

_KIBIBYTES = {
    unit: 1024**power
    for power, units in {
        0: ("k", "kb", "kib"),
        1: ("m", "mb", "mib"),
        2: ("g", "gb", "gib"),
        3: ("t", "tb", "tib"),
        4: ("p", "pb", "pib"),
    }.items()
    for unit in units
}
_SECONDS = {
    unit: seconds
    for seconds, units in {
        1: ("s", "sec", "secs", "second", "seconds"),
        60: ("m", "min", "mins", "minute", "minutes"),
        3600: ("h", "hr", "hrs", "hour", "hours"),
        86400: ("d", "day", "days"),
        604800: ("w", "week", "weeks"),
    }.items()
    for unit in units
}
_BYTES: Mapping[str, int] = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
# Maximum number of digits before and after the point: more than any cluster needs, and below Python's limit for int().
_DIGITS = 15
_FINEST: int = 10**_DIGITS
_NUMBER = rf"[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{1,{_DIGITS}}})?"
_AMOUNT = re.compile(rf"({_NUMBER})[ \t]*([A-Za-z]+)")
_SPAN = re.compile(rf"{_AMOUNT.pattern}(?:[ \t]*{_AMOUNT.pattern})*")
_CLOCK = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,6})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?")

MEMORY = 'an amount with its unit, such as "32 GB" or "500 MB"'
TIME = 'a time with its unit, such as "4 h", "90 min" or "1 d 12 h", or days-hours:minutes:seconds as in "2-12:00:00"'


def parse_memory(text: str) -> int:
    """Return the number of MiB in ``"32 GB"``, ``"32GiB"``, ``"500 MB"`` or ``"1.5 TB"``, rounded up.

    ``GB`` and ``GiB`` both mean 1024 MiB, because Slurm's suffixes are powers of 1024 (``sbatch --mem``). A value has the
    same meaning for every scheduler.

    Raises:
        ConfigError: `text` is malformed, zero, or a number without a unit. The unit is required because the schedulers
            differ: Slurm reads MB, and HTCondor MB for memory and KB for disk space.
    """
    match = _AMOUNT.fullmatch(text.strip(" \t"))
    if match is None or match[2].lower() not in _KIBIBYTES:
        raise no_memory(text)
    amount = _exact_int(_fine(match[1]) * _KIBIBYTES[match[2].lower()], 1024)
    if amount == 0:
        raise ConfigError(f"found {found(text)}; expected more than zero: {MEMORY}")
    return amount


def parse_size(text: str) -> int:
    """Return the number of bytes in ``"20 GB"``, ``"1.5TB"``, ``"500 MiB"`` or ``"0"``, rounded down.

    ``GB`` means 10^9 bytes, as in the sizes that hpcdeploy prints, and ``GiB`` means 2^30 bytes.

    Raises:
        ConfigError: `text` is malformed, or a number without a unit.
    """
    words = text.strip(" \t")
    if words == "0":
        return 0
    match = _AMOUNT.fullmatch(words)
    if match is None or match[2].lower() not in _BYTES:
        raise ConfigError(f'found {found(text)}; expected a size with its unit, such as "20 GB", or 0')
    return int(_fine(match[1]) * _BYTES[match[2].lower()] // _FINEST)


def parse_time(text: str) -> int:
    """Return the seconds in ``"4 h"``, ``"90 min"``, ``"1 d 12 h"``, ``"1:30:00"`` or ``"2-12:00:00"``, rounded up.

    The formats with a colon or a dash are the unambiguous formats of ``sbatch --time``: hours:minutes:seconds, days-hours,
    days-hours:minutes and days-hours:minutes:seconds.

    Raises:
        ConfigError: In one of these cases:

            - `text` is malformed or zero.
            - `text` is a number without a unit, which means minutes for Slurm and seconds for HTCondor.
            - `text` is like ``1:30``, which looks like hours and minutes but means minutes and seconds for Slurm.
    """
    words = text.strip(" \t")
    seconds: int | None = None
    if _SPAN.fullmatch(words):
        parts = _AMOUNT.findall(words)
        if all(unit.lower() in _SECONDS for _, unit in parts):
            seconds = _exact_int(sum(_fine(number) * _SECONDS[unit.lower()] for number, unit in parts))
    elif (clock := _CLOCK.fullmatch(words)) and (clock[1] or clock[4]):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        if minutes < 60 and rest < 60:
            seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
    if seconds is None:
        raise no_time(text)
    if seconds == 0:
        raise ConfigError(f"found {found(text)}; expected more than zero: {TIME}")
    return seconds


def _fine(number: str) -> int:
    """Return the decimal `number` times `_FINEST`. The result is an integer, because a float would not be exact."""
    integer, _, part = number.partition(".")
    return int(integer + part.ljust(_DIGITS, "0"))


def _exact_int(fine: int, unit: int = 1) -> int:
    """Convert `fine`, which was computed from results of `_fine`, to a number of `unit`, rounded up."""
    return -(-fine // (unit * _FINEST))


def no_memory(value: object) -> ConfigError:
    """Return the error for a `value` that is not an amount of memory or disk space."""
    words = str(value).strip(" \t")
    hint = f': the unit is missing, use "{words} GB" or "{words} MB"' if re.fullmatch(_NUMBER, words) else ""
    return ConfigError(f"found {found(value)}; expected {MEMORY}{hint}")


def no_time(value: object) -> ConfigError:
    """Return the error for a `value` that is not a time."""
    words = str(value).strip(" \t")
    hint = ""
    if re.fullmatch(_NUMBER, words):
        hint = f': the unit is missing (minutes for Slurm, seconds for HTCondor), use "{words} min" or "{words} h"'
    elif re.fullmatch(r"[0-9]+:[0-9]{2}", words):
        hint = f': this means minutes and seconds for Slurm, use "{words}:00" for hours and minutes'
    return ConfigError(f"found {found(value)}; expected {TIME}{hint}")
