"""Parse sweeps (a grid, a list, CSV, JSON Lines) into parameters.

A number keeps its spelling, such as ``0.10`` or ``1e-4``. There is one exception: integers in TOML are written in decimal
(``0x10`` becomes ``16``), because the TOML parser only returns their value.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hpcdeploy.config.reading import Number, found
from hpcdeploy.config.validators import identifier, line, text, whole
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, SweepFile
from hpcdeploy.parameters import Parameters

MOST_TASKS = 1_000_000
"""Maximum number of tasks of a sweep.

It is far above the default limits of Slurm: MaxArraySize is 1001 and MaxJobCount is 10000. A site can set MaxArraySize to at
most 4000001 (slurm.conf(5)).
"""

_EXAMPLE = '{"lr": 0.1, "seed": 1}'

KINDS = ("grid", "list", "file")
"""The keys of a sweep's table; exactly one must be set."""


def value(raw: object) -> str:
    """Return a parameter's value as text: a string unchanged, a boolean as ``true`` or ``false``, a number in digits.

    A float of a TOML file keeps its spelling, and an integer is written in decimal.

    Raises:
        ConfigError: The value has another type, or is a string with a NUL.
    """
    match raw:
        case bool():
            return "true" if raw else "false"
        case Number():
            return raw.written
        case int():
            return str(raw)
        case str():
            return text(raw)
        case _:
            shown = "null" if raw is None else found(raw)
            raise ConfigError(f"found {shown}; expected a string, a number, true or false; write other values in quotes")


def grid(values: Mapping[str, Sequence[str]]) -> Parameters:
    """Return one task for each combination of `values`; the value of the last name changes with every task.

    Raises:
        ConfigError: `values` is empty, or there are more than `MOST_TASKS` combinations.
    """
    if not values:
        raise ConfigError('found an empty table; expected parameters, such as { lr = ["0.1", "0.01"], seed = [1, 2, 3] }')
    tasks = 1
    for several in values.values():
        tasks *= len(several)
    _limited(tasks)
    return Parameters(names=tuple(values), rows=tuple(itertools.product(*values.values())))


def table(rows: Sequence[Mapping[str, str]]) -> Parameters:
    """Return the parameters of a list of tasks, where every task must have the same names.

    Raises:
        ConfigError: A task has other names or none, or there are more than `MOST_TASKS` tasks.
    """
    names = tuple(rows[0])
    for number, row in enumerate(rows):
        _same_names(names, row, f"item {number}")
    return _parameters(names, [tuple(row[name] for name in names) for row in rows])


def parse_csv(content: bytes) -> Parameters:
    """Parse CSV (RFC 4180): the names in the first line, then one line per task.

    - Blanks are a part of the value.
    - A value with a comma, a quotation mark or a line break must be in quotation marks, as spreadsheets write it.
    - Empty lines are ignored. So with one parameter, an empty value must be written as ``""``.

    Raises:
        ConfigError: A line is malformed, and the message has its number; or there is no task, or more than `MOST_TASKS`.
    """
    reader = csv.reader(io.StringIO(_decoded(content), newline=""), strict=True)
    rows: list[tuple[str, ...]] = []
    names: tuple[str, ...] = ()
    try:
        for cells in filter(None, reader):
            if names:
                rows.append(_cells(cells, names))
            else:
                names = _columns(cells)
    except csv.Error as error:
        advice = 'a value with a comma, a " or a line break must be in "quotation marks", with each " in it doubled'
        raise ConfigError(f"line {reader.line_num}: {error}; {advice}") from error
    except ConfigError as error:
        raise ConfigError(f"line {reader.line_num}: {error}") from error
    return _parameters(names, rows)


def parse_json_lines(content: bytes) -> Parameters:
    """Parse JSON Lines: one object per task, where every object must have the same names. Numbers keep their spelling.

    Raises:
        ConfigError: A line is malformed, and the message has its number; or there is no task, or more than `MOST_TASKS`.
    """
    rows: list[dict[str, str]] = []
    for number, words in enumerate(_decoded(content).split("\n"), start=1):
        if not words.strip():
            continue
        try:
            row = _object(words)
            _same_names(rows[0] if rows else row, row, "this task")
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from error
        rows.append(row)
    names = tuple(rows[0]) if rows else ()
    return _parameters(names, [tuple(row[name] for name in names) for row in rows])


def parse_file(content: bytes, name: str) -> Parameters:
    """Parse the content of a file of parameters, whose `name` must have a suffix in `READERS`.

    Raises:
        ConfigError: A line is malformed, and the message has its number; or there is no task, or more than `MOST_TASKS`.
    """
    return READERS[PurePath(name).suffix.lower()](content)


def parse_values(words: str) -> tuple[str, ...]:
    """Parse values that are separated by commas, as in ``0.1,0.01``; a value may be in quotation marks, as in CSV.

    Raises:
        ConfigError: Quotation marks are wrong, or `words` contains a NUL.
    """
    try:
        return tuple(next(csv.reader([text(words)], strict=True))) or ("",)
    except csv.Error as error:
        raise ConfigError(f"found {found(words)} ({error}); expected values that are separated by commas") from error


def parse_tasks(words: str) -> tuple[int, ...]:
    """Parse task numbers in the format of ``sbatch --array``, such as ``3,5-7``.

    Raises:
        ConfigError: `words` is malformed.
    """
    tasks: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ConfigError(f"found {found(words)}; expected task numbers, such as 3 or 3,5-7")
        tasks += range(first, last + 1)
    return tuple(tasks)


def swept(parameters: Parameters, throttle: int = 0) -> Array:
    """Return the array with one task for each row of `parameters`; at most `throttle` tasks run at once (0: no limit)."""
    return Array(size=len(parameters.rows), throttle=throttle, parameters=parameters)


def parameter_name(name: str) -> str:
    """Return `name` if it is valid for a parameter, which the variable ``HPCDEPLOY_PARAM_name`` passes to the program.

    Raises:
        ConfigError: `name` is not a valid name of a variable.
    """
    return identifier(name)


def sweep_file(words: object) -> str:
    """Return the path of a file of parameters; its suffix selects the format.

    Raises:
        ConfigError: The path is not a single line, or has another suffix than those in `READERS`.
    """
    path = line(words)
    if PurePath(path).suffix.lower() not in READERS:
        raise ConfigError(f"found {found(words)}; expected a file whose name ends in {' or '.join(READERS)}")
    return path


def sweep(values: dict[str, Any]) -> Array | SweepFile:
    """Return the array that a table ``sweep`` describes, or the file of parameters that it names.

    Raises:
        ConfigError: The table does not have exactly one of `KINDS`, or has more than `MOST_TASKS` tasks.
    """
    given = [kind for kind in KINDS if kind in values]
    if len(given) != 1:
        raise ConfigError(f"found {' and '.join(given) or 'none'} of the keys {', '.join(KINDS)}; expected exactly one")
    throttle = whole(0)(values.get("throttle", 0))
    match given[0]:
        case "grid":
            return swept(grid(values["grid"]), throttle)
        case "list":
            return swept(table(values["list"]), throttle)
        case _:
            return SweepFile(path=values["file"], throttle=throttle)


def _parameters(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Parameters:
    if not names or not rows:
        raise ConfigError("found no task; expected the parameters' names and at least one line of values")
    _limited(len(rows))
    return Parameters(names=names, rows=tuple(rows))


def _limited(tasks: int) -> None:
    if tasks > MOST_TASKS:
        raise ConfigError(f"found {tasks} tasks; expected at most {MOST_TASKS}: divide the sweep into several runs")


def _columns(cells: Sequence[str]) -> tuple[str, ...]:
    other = next((sign for sign in ";\t" if len(cells) == 1 and sign in cells[0]), None)
    if other:
        raise ConfigError(f"found {found(cells[0])}; expected commas between the names, not {found(other)}")
    names = tuple(map(parameter_name, cells))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"found the column {twice} twice; expected every name once")
    return names


def _cells(cells: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    if len(cells) != len(names):
        raise ConfigError(f"found {len(cells)} values; expected {len(names)}, one for each of {', '.join(names)}")
    return tuple(map(text, cells))


def _same_names(names: Iterable[str], row: Mapping[str, str], where: str) -> None:
    missing = [name for name in names if name not in row]
    more = [name for name in row if name not in names]
    if not row:
        raise ConfigError(f"{where} has no parameters; expected some, such as lr = 0.1")
    if missing or more:
        parts = [f"has no {', '.join(missing)}"] * bool(missing) + [f"also has {', '.join(more)}"] * bool(more)
        raise ConfigError(f"{where} {' and '.join(parts)}; expected the parameters of the first task: {', '.join(names)}")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"line {line}: not UTF-8; save the file as UTF-8") from error


def _object(words: str) -> dict[str, str]:
    try:
        row = json.loads(words, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{error}; expected one object per line, such as {_EXAMPLE}") from error
    if not isinstance(row, dict):
        raise ConfigError(f"found {found(row)}; expected an object such as {_EXAMPLE}")
    return {parameter_name(name): _valid_text(value(raw)) for name, raw in row.items()}


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ConfigError("found a parameter's name twice; expected every name once")
    return row


def _valid_text(words: str) -> str:
    r"""Return `words` if it has no surrogates, which are valid in JSON (``"\ud800"``) but not in an argument.

    Raises:
        ConfigError: `words` has a surrogate.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in words):
        raise ConfigError(f"found {found(words)}; expected text without surrogates (\\ud800 to \\udfff)")
    return words


READERS: Mapping[str, Callable[[bytes], Parameters]] = {".csv": parse_csv, ".jsonl": parse_json_lines}
"""The functions that parse a file of parameters, by its suffix."""
