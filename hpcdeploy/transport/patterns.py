"""OpenSSH's pattern lists (ssh_config(5), PATTERNS): ``*``, ``?`` and a leading ``!``, nothing else."""

import re
from collections.abc import Iterable


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Say whether `name` matches a pattern and no negated one; case does not count, as in host names."""
    found = False
    for pattern in patterns:
        if not _pattern(pattern.removeprefix("!")).fullmatch(name):
            continue
        if pattern.startswith("!"):
            return False
        found = True
    return found


def _pattern(pattern: str) -> re.Pattern[str]:
    # fnmatch would read the brackets of "[host]:2222" as a set of letters.
    text = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.compile(text, re.IGNORECASE | re.DOTALL)
