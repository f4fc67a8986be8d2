"""The JSON Schema of the settings and the reader agree: on examples, and on the type of every value."""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from typer.testing import CliRunner

from hpcdeploy.cli.main import app
from hpcdeploy.config.json_schema import json_schema, of_kind
from hpcdeploy.config.reading import Either, Kind, Leaf, ListOf, MapOf, Number, Report, Table, parse_document, read
from hpcdeploy.config.schema import PROJECT_FILE, USER_FILE
from hpcdeploy.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "schemas" / "hpcdeploy.schema.json"
PROJECT, PERSON = Draft4Validator(json_schema(PROJECT_FILE, "x")), Draft4Validator(json_schema(USER_FILE, "x"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/*.md"))]

SAMPLES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [0, 1, 3, 75],
    "number": [Number("1.5"), Number("1.0")],
    "array": [[], ["x"], [1]],
    "object": [{}, {"x": "y"}],
    "date": [dt.date(2026, 1, 1)],
    "string": [
        *(
            "x",
            "1",
            "2 GB",
            "1 h",
            "/x",
            "$X",
            "12.4",
            "8.0",
            "x.csv",
            "x86_64_v3",
            "ghcr.io/me/x",
            "USR1",
            "none",
            "py-ray",
        ),
        *("localhost:1/x", "registry.example.org", "~/x", "pmix", "0-99", "python:3.12"),
    ],
}


def accepted(table: Table, raw: object) -> bool:
    report = Report(file="f")
    read(table, raw, report)
    return not report.problems


def documents() -> Iterator[tuple[str, Table, dict[str, Any]]]:
    """Yield each settings file of the repository, in files of its own and in the pages, with its kind of file."""
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in sorted(ROOT.glob("examples/*/hpcdeploy.toml"))}
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)):
            texts[f"{page.name}:{number}"] = block
    for name, text in texts.items():
        try:
            raw: dict[str, Any] = dict(parse_document(text.encode(), name))
        except ConfigError:
            continue
        for table in (PROJECT_FILE, USER_FILE):
            if accepted(table, raw):
                yield name, table, raw


DOCUMENTS = list(documents())


def test_every_settings_file_of_the_repository_is_valid_by_the_schema() -> None:
    assert len(DOCUMENTS) > 25
    for name, table, raw in DOCUMENTS:
        validator = PROJECT if table is PROJECT_FILE else PERSON
        assert [error.message for error in validator.iter_errors(raw)] == [], name


def kinds(kind: Kind) -> Iterator[Kind]:
    """Yield a kind and all kinds of values in it."""
    yield kind
    match kind:
        case ListOf(item) | MapOf(_, item):
            yield from kinds(item)
        case Table(keys):
            for key in keys:
                yield from kinds(key.kind)
        case Either(held):
            for one in held.values():
                yield from kinds(one)
        case Leaf():
            pass


def alone(kind: Kind, value: object) -> bool:
    """Tell whether the reader accepts `value` as a value of one kind."""
    match kind:
        case Leaf(parse):
            try:
                parse(value)
            except ConfigError:
                return False
            return True
        case Either(held):
            return type(value) in held and alone(held[type(value)], value)
        case ListOf():
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def all_kinds() -> list[Kind]:
    """Return all kinds of values; those behind an `Either` by themselves only if they are not read for one type alone."""
    behind = {
        id(one)
        for table in (PROJECT_FILE, USER_FILE)
        for kind in kinds(table)
        if isinstance(kind, Either)
        for one in kind.kinds.values()
        if isinstance(one, Leaf)
    }
    found = {id(kind): kind for table in (PROJECT_FILE, USER_FILE) for kind in kinds(table)}
    return [kind for key, kind in found.items() if key not in behind]


def test_what_the_reader_refuses_by_its_type_the_schema_refuses_and_no_value_that_it_accepts() -> None:
    checked = 0
    for kind in all_kinds():
        schema = of_kind(kind)
        words = [word for word in schema.get("enum", ()) if isinstance(word, str)]  # type: ignore[attr-defined]
        validator = Draft4Validator({key: value for key, value in schema.items() if key in {"type", "enum", "anyOf"}})
        for name, values in (SAMPLES | {"string": [*SAMPLES["string"], *words]}).items():
            read_values = [alone(kind, value) for value in values]
            for value, is_read in zip(values, read_values, strict=True):
                deep = isinstance(value, list | dict)
                if is_read and not deep:
                    assert Draft4Validator(schema).is_valid(value), (schema, value)
                if not any(read_values):
                    assert not validator.is_valid(value), (schema, name, value)
                    checked += 1
    assert checked > 1000


def paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, (*path, key))


def test_no_change_of_an_example_that_the_reader_accepts_is_refused_by_the_schema() -> None:
    read_changes = 0
    for name, table, raw in DOCUMENTS:
        validator = PROJECT if table is PROJECT_FILE else PERSON
        for path in list(paths(raw)):
            inner: Any = raw
            for key in path[:-1]:
                inner = inner[key]
            before = inner[path[-1]]
            for value in (value for values in SAMPLES.values() for value in values):
                inner[path[-1]] = value
                if accepted(table, raw):
                    read_changes += 1
                    assert validator.is_valid(raw), (name, path, value)
            inner[path[-1]] = before
    assert read_changes > 500


@pytest.mark.parametrize(
    "text",
    [
        "[job.train]",
        '[jobs.train]\ncomand = ["x"]',
        "[jobs.train]\ncommand = 'python train.py'",
        "[jobs.train]\ncpus = 1.0",
        "[jobs.train]\ncpus = true",
        '[jobs.train]\nlauncher = "mpirun"',
        "[jobs.train]\nmemory = 32",
        '[jobs.train]\nbinds = [{ destination = "/x" }]',
        "[jobs.train]\ncode = true\nretries = 0.5",
        '[clusters.hpc]\nscheduler = "pbs"',
        "[image]\npixi = 'gpu'",
    ],
)
def test_mistakes_are_found_by_the_schema(text: str) -> None:
    raw = parse_document(text.encode(), "f")
    assert not PROJECT.is_valid(raw)
    assert not accepted(PROJECT_FILE, raw)


def test_a_jobs_keys_bear_their_documentation_without_links() -> None:
    keys = json_schema(PROJECT_FILE, "x")["properties"]["jobs"]["additionalProperties"]["properties"]  # type: ignore[index]
    assert keys["cpus"] == {"type": "integer", "minimum": 1, "maximum": 10**9, "description": "Number of CPU cores"}
    assert all(key["description"] for key in keys.values())
    assert "](" not in json.dumps(keys)


def test_the_shipped_schema_is_the_derived_one_and_the_command_prints_it() -> None:
    derived = json.dumps(json_schema(PROJECT_FILE, "hpcdeploy.toml"), indent=2, ensure_ascii=False) + "\n"
    if "HPCDEPLOY_WRITE_GOLDEN" in os.environ:
        SHIPPED.parent.mkdir(exist_ok=True)
        SHIPPED.write_text(derived, encoding="utf-8")
    assert SHIPPED.read_text(encoding="utf-8") == derived
    Draft4Validator.check_schema(json.loads(derived))
    done = CliRunner().invoke(app, ["schema"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, json.loads(derived))
    own = CliRunner().invoke(app, ["schema", "--user"])
    assert set(json.loads(own.stdout)["properties"]) == {"clusters", "registries", "safe-directories"}
