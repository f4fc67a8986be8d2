"""Parse TOML into dictionaries, for every TOML file.

The library tomli is used, because it supports TOML 1.1 (seen with 2.5.0), while Python's ``tomllib`` only supports 1.0. TOML
1.1 has inline tables with several lines and trailing commas. Pixi reads TOML 1.1 since version 0.73 (prefix-dev/pixi,
CHANGELOG, 0.73.0).
"""

import re
from collections.abc import Callable


class TomlError(ValueError):
    """A text is not TOML. ``line`` and ``column`` are the position of the error, from 1 on; 0 if unknown."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        place = f" (at line {line}, column {column})" if line else ""
        super().__init__(f"{reason}{place}")
        self.reason, self.line, self.column = reason, line, column


class UnusableTomlError(ValueError):
    """A text may be TOML, but exceeds a limit of Python: the digits of an integer, or the depth of nesting."""


def load_toml(text: str, *, parse_float: Callable[[str], object] = float) -> dict[str, object]:
    """Return the tables of TOML 1.1 text; `parse_float` converts each number with a point or an exponent.

    Raises:
        TomlError: The text is not TOML.
        UnusableTomlError: The text exceeds one of Python's limits.
    """
    import tomli

    try:
        return tomli.loads(text, parse_float=parse_float)
    except tomli.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*?)(?: \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\))?", str(error), re.DOTALL)
        assert match is not None
        end = (text.count("\n") + 1, len(text) - text.rfind("\n"))
        line, column = (int(match[2]), int(match[3])) if match[2] else end
        raise TomlError(match[1], line, column) from error
    except (ValueError, RecursionError) as error:
        raise UnusableTomlError(str(error)) from error
