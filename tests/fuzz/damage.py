"""What the outside may send: honest samples, damaged. Each strategy gives one input."""

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.environments.test_pixi_fuzz import document

LONGEST = 30_000
"""Characters of a text: a header has at most 65,536 (http.client, ``_MAXLINE``); longer answers have limits of their own."""

NESTED = 150
"""Levels: more than any reader takes (`hpcdeploy.json_text.DEEPEST`), and far from Python's own limit."""

WORDS = (
    *("", " ", "\n", "\r", "\t", "\0", "\x1b[2J", "\x1b]0;x\x07", "\x7f", "\x9b", "\u2028", "\u202e", "\udcff", "²", "٣"),
    *("0", "-1", "1.5", "1e999", "nan", "Infinity", "0x10", "1_000", "08", "99999999999999999999", "9" * 5000),
    *("0-99999999999", "[0-3999999%1]", "0-9:0", "5-1", "N/A", "Unknown", "null", "true", "[]", "{}", "[" * NESTED),
    *("{", "}", "]", "|", "||", "'", '"', "\\", "`", "$(id)", "${A:-", "%", "%%", ":", "::", "/", "//", "../..", "~", "#"),
    *(",", ",,", "=", "@", "*", "?", "http://[::1", "http://h:99999/", "https://a..b/", f"https://{'a' * 70}.example/"),
    *("javascript:1", "HPCDEPLOY {", "[red]", "=1+1", "sha256:", "-", "--", "&a", "*a", "!!x", "<<", "\ufeff", "é"),
)
"""Words that readers are known to stumble over: numbers of every kind, quotes, escapes, addresses, control characters."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2.0, 10**30, 2**63, float("nan"), float("inf"), -0.0, "", "0", "7", "x", [], {}, [[]]),
    *([None], ["x"], [1, "a", None], {"x": None}, {"": {}}, {"a": {"b": {"c": []}}}, "\x1b[2J", "\u202e", "9" * 400),
)

_PLACES = st.integers(0, 9999)
_CHANGES = st.lists(st.tuples(st.integers(0, 6), _PLACES, _PLACES, st.sampled_from(WORDS) | st.text(max_size=8)), max_size=4)
_VALUE_CHANGES = st.lists(st.tuples(st.integers(0, 4), _PLACES, st.sampled_from(VALUES)), min_size=1, max_size=4)


def texts(samples: Sequence[str]) -> st.SearchStrategy[str]:
    """Give samples with words put in, replaced and taken out, lines repeated, and ends cut off."""
    return st.builds(_damaged, st.sampled_from(samples), _CHANGES)


def contents(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Give samples of bytes with pieces overwritten, taken out, put in and cut off."""
    changes = st.lists(st.tuples(st.integers(0, 3), _PLACES, st.binary(max_size=9)), max_size=4)
    return st.builds(_damaged_bytes, st.sampled_from(samples), changes)


def values(samples: Sequence[Any], write: Callable[[Any], str]) -> st.SearchStrategy[str]:
    """Give what `write` makes of sample values in which some were replaced, taken out, repeated and nested."""

    def damaged(sample: Any, changes: Sequence[tuple[int, int, Any]], more: Sequence[tuple[int, int, int, str]]) -> str:
        return _damaged(write(_changed(sample, changes)), more[:1])

    # One in a few is damaged as text too.
    return st.builds(damaged, st.sampled_from(samples), _VALUE_CHANGES, st.just([]) | st.just([]) | _CHANGES)


def as_json(samples: Sequence[Any]) -> st.SearchStrategy[str]:
    """Give JSON; as Python writes it, with NaN and Infinity."""
    return values(samples, json.dumps)


def as_yaml(samples: Sequence[Any]) -> st.SearchStrategy[str]:
    """Give YAML."""
    return values(samples, lambda value: str(yaml.safe_dump(value)))


def as_toml(samples: Sequence[Any]) -> st.SearchStrategy[str]:
    """Give TOML."""
    return values(samples, lambda value: document(value) if isinstance(value, dict) else json.dumps(value))


def _damaged(text: str, changes: Sequence[tuple[int, int, int, str]]) -> str:
    for kind, first, second, word in changes:
        place, size = first * len(text) // 10_000, second % 12
        match kind:
            case 0:
                text = text[:place] + word + text[place:]
            case 1:
                text = text[:place] + text[place + size :]
            case 2:
                text = _replaced(text, r"[^\s|,:]+", first, word)
            case 3:
                text = _replaced(text, r"[0-9]+", first, word)
            case 4:
                lines = text.splitlines(keepends=True) or [""]
                number = first % len(lines)
                text = "".join([*lines[: number + 1], *[lines[number]] * (second % 40), *lines[number + 1 :]])
            case 5:
                text = text[:place]
            case _:
                text = text[place:] + text[:place]
        text = text[:LONGEST]
    return text


def _replaced(text: str, pattern: str, number: int, word: str) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = found[number % len(found)]
    return text[: match.start()] + word + text[match.end() :]


def _damaged_bytes(content: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    for kind, first, piece in changes:
        place = first * len(content) // 10_000
        match kind:
            case 0:
                content = content[:place] + piece + content[place + len(piece) :]
            case 1:
                content = content[:place] + piece + content[place:]
            case 2:
                content = content[:place] + content[place + 1 + len(piece) :]
            case _:
                content = content[:place]
    return content


def _changed(value: Any, changes: Sequence[tuple[int, int, Any]]) -> Any:
    value = json.loads(json.dumps(value))
    for kind, number, chosen in changes:
        other, places = deepcopy(chosen), _places(value)
        if not places:
            return other
        holder, key = places[number % len(places)]
        match kind:
            case 0:
                holder[key] = other
            case 1:
                del holder[key]
            case 2 if isinstance(holder, list):
                holder.extend(deepcopy(holder[key]) for _ in range(20))
            case 2 | 3:
                holder[key] = _nested(holder[key], number % NESTED)
            case _ if isinstance(holder, dict):
                holder[str(other)[:20]] = holder.pop(key)
            case _:
                holder[key] = [holder[key], other]
    return value


def _nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each place in a value that holds a value, as its holder and its key or number."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        found += [(holder, key) for key in keys]
        left += [holder[key] for key in keys]
    return found
