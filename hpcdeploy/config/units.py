"""Amounts as people write them: memory, disk space and time, with one meaning for every scheduler.

Nothing is ever rounded down: a job that asks for ``1.5 MB`` gets 2 MiB, one that asks for ``0.5 s`` gets a second.
"""

import re

from hpcdeploy.config.found import found
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
# Fifteen digits are more than any cluster has, and keep the arithmetic far from Python's limit on digits.
_DIGITS = 15
_FINEST: int = 10**_DIGITS
_NUMBER = rf"[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{1,{_DIGITS}}})?"
_AMOUNT = re.compile(rf"({_NUMBER})[ \t]*([A-Za-z]+)")
_SPAN = re.compile(rf"{_AMOUNT.pattern}(?:[ \t]*{_AMOUNT.pattern})*")
_CLOCK = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,6})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?")

MEMORY = 'an amount with its unit, such as "32 GB" or "500 MB"'
TIME = 'a time with its unit, such as "4 h", "90 min" or "1 d 12 h", or days-hours:minutes:seconds as in "2-12:00:00"'


def parse_memory(text: str) -> int:
    """Return the MiB in ``"32 GB"``, ``"32GiB"``, ``"500 MB"``, ``"1.5 TB"``; a part of a MiB counts as a whole one.

    ``GB`` and ``GiB`` are the same 1024 MiB: Slurm's own suffixes count in 1024s whatever they are called
    (``sbatch --mem``), and one word must ask for the same amount everywhere. Raises `ConfigError` for anything else, a
    number without a unit among it: Slurm would read MB, HTCondor MB for memory and KB for disk.
    """
    match = _AMOUNT.fullmatch(text.strip(" \t"))
    if match is None or match[2].lower() not in _KIBIBYTES:
        raise no_memory(text)
    amount = _whole(_fine(match[1]) * _KIBIBYTES[match[2].lower()], 1024)
    if amount == 0:
        raise ConfigError(f"found {found(text)}; expected more than nothing: {MEMORY}")
    return amount


def parse_time(text: str) -> int:
    """Return the seconds in ``"4 h"``, ``"90 min"``, ``"1 d 12 h"``, ``"1:30:00"`` or ``"2-12:00:00"``, rounded up.

    The forms with colons are those of ``sbatch --time`` that read the same to everybody: hours:minutes:seconds, and
    days-hours, days-hours:minutes, days-hours:minutes:seconds. Raises `ConfigError` for anything else, a number without
    a unit (minutes to Slurm, seconds to HTCondor) and ``1:30`` (a minute and a half to Slurm) among it.
    """
    words = text.strip(" \t")
    seconds: int | None = None
    if _SPAN.fullmatch(words):
        parts = _AMOUNT.findall(words)
        if all(unit.lower() in _SECONDS for _, unit in parts):
            seconds = _whole(sum(_fine(number) * _SECONDS[unit.lower()] for number, unit in parts))
    elif (clock := _CLOCK.fullmatch(words)) and (clock[1] or clock[4]):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        if minutes < 60 and rest < 60:
            seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
    if seconds is None:
        raise no_time(text)
    if seconds == 0:
        raise ConfigError(f"found {found(text)}; expected more than nothing: {TIME}")
    return seconds


def _fine(number: str) -> int:
    """Return how often the smallest number that can be written goes into `number`: exact, as a float is not."""
    whole, _, part = number.partition(".")
    return int(whole + part.ljust(_DIGITS, "0"))


def _whole(fine: int, unit: int = 1) -> int:
    """Return how many whole units it takes for what `_fine` counts."""
    return -(-fine // (unit * _FINEST))


def no_memory(value: object) -> ConfigError:
    """Return the error for a `value` of any type that is no amount of memory or disk."""
    words = str(value).strip(" \t")
    hint = f': a number alone has no unit, write "{words} GB" or "{words} MB"' if re.fullmatch(_NUMBER, words) else ""
    return ConfigError(f"found {found(value)}; expected {MEMORY}{hint}")


def no_time(value: object) -> ConfigError:
    """Return the error for a `value` of any type that is no time."""
    words = str(value).strip(" \t")
    hint = ""
    if re.fullmatch(_NUMBER, words):
        hint = f': a number alone is minutes to Slurm and seconds to HTCondor, write "{words} min" or "{words} h"'
    elif re.fullmatch(r"[0-9]+:[0-9]{2}", words):
        hint = f': this is minutes and seconds to Slurm, write "{words}:00" for hours and minutes'
    return ConfigError(f"found {found(value)}; expected {TIME}{hint}")
