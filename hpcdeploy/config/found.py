"""Format the user's input for messages: values and key paths."""

import datetime as dt
import json
import re

_LONGEST = 60


def found(value: object) -> str:
    """Return `value` in the format of its file, shortened, on one line and without control characters."""
    match value:
        case str():
            return json.dumps(_cut(value), ensure_ascii=not value.isprintable())
        case bool():
            return "true" if value else "false"
        case int():
            # int.bit_length, because Python refuses to print more than some thousand digits
            return str(value) if value.bit_length() < 100 else "a very long number"
        case float():
            return str(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table" if value else "an empty table"
        case dt.date() | dt.time():
            return f"the date or time {value.isoformat()}"
        case _:
            return f"a {type(value).__name__}"


def joined(path: str, key: str | int) -> str:
    """Return the key path of `key` in `path`, in TOML's format: ``jobs.train.command[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    word = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(_cut(key), ensure_ascii=not key.isprintable())
    return f"{path}.{word}" if path else word


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
