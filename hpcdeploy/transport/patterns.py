"""OpenSSH's pattern lists (ssh_config(5), PATTERNS): ``*``, ``?`` and a leading ``!``, nothing else."""

import re
from collections.abc import Iterable

from hpcdeploy.wildcards import STAR, joined


def matches(name: str, patterns: Iterable[str], *, ignore_case: bool) -> bool:
    """Say whether `name` matches a pattern and no negated one.

    Case counts in ``Host`` lines and user names (match.c, ``match_pattern``), not in host names (``match_hostname``).
    """
    found = False
    for pattern in patterns:
        if not _pattern(pattern.removeprefix("!"), ignore_case=ignore_case).fullmatch(name):
            continue
        if pattern.startswith("!"):
            return False
        found = True
    return found


def _pattern(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    # fnmatch would read the brackets of "[host]:2222" as a set of letters.
    text = joined([{"*": STAR, "?": "."}.get(letter, re.escape(letter)) for letter in pattern], any_character=".")
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
