"""The schema against anything that a TOML file can hold."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.config.project import Layer, Project, assemble
from hpcdeploy.config.reading import Either, Kind, ListOf, MapOf, Report, Table, parse_document, read
from hpcdeploy.config.schema import PROJECT_FILE
from hpcdeploy.errors import ConfigError

WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "a",
            "slurm",
            "gres",
            "32 GB",
            "4 h",
            "/x",
            "$HOME/x",
            "/a:/b:ro",
            "0-9%3",
            "12.9",
            "ghcr.io/me/x",
            "a\nb",
            "\0",
            "\u2028",
        ]
    ),
)
SCALARS = st.one_of(WORDS, st.integers(), st.floats(), st.booleans(), st.dates(), st.times(), st.datetimes())
GARBAGE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)


def like(kind: Kind) -> st.SearchStrategy[Any]:
    """Return values that look like `kind`, most of the time."""
    match kind:
        case Table(keys):
            known = st.fixed_dictionaries({}, optional={key.name: like(key.kind) for key in keys})
            likely: st.SearchStrategy[Any] = known
        case ListOf(item):
            likely = st.lists(like(item), max_size=3)
        case MapOf(_, item):
            likely = st.dictionaries(WORDS, like(item), max_size=2)
        case Either(kinds):
            likely = st.one_of([like(inner) for inner in kinds.values()])
        case _:
            likely = SCALARS
    return st.one_of(likely, likely, likely, GARBAGE)


def project_of(raw: object) -> Project:
    report = Report(file="f")
    values = read(PROJECT_FILE, raw, report)
    report.raise_problems()
    return assemble(Path("/p"), [], Layer(file=Path("/p/f"), values=values, paths=report.paths))


@settings(max_examples=400, deadline=None)
@given(like(PROJECT_FILE))
def test_anything_is_a_project_or_one_refusal(raw: object) -> None:
    try:
        project = project_of(raw)
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines[0].startswith("f: ")
        assert len(lines) == 1 or all(line.startswith("  ") for line in lines[1:])
    else:
        hash((tuple(project.images.values()), tuple(project.clusters.values()), tuple(project.jobs.values())))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("ab=.[]{}\"'\n#\\u0-9: ", max_size=40).map(str.encode)))
def test_any_bytes_are_a_document_or_one_refusal(content: bytes) -> None:
    try:
        document = parse_document(content, "f")
    except ConfigError as error:
        assert str(error).startswith("f")  # noqa: PT017 - a document is as good
    else:
        assert isinstance(document, dict)


def test_a_message_stays_on_its_line_whatever_the_file_holds() -> None:
    report = Report(file="f")
    read(PROJECT_FILE, {"jobs": {"a\nb": {}}, "x\u2028\x1b[31m": 1, "image": {"base": "a\rb"}}, report)
    assert report.problems == [
        'jobs."a\\nb": found "a\\nb"; expected a name of 1 to 64 letters, digits, dots, dashes and underscores',
        '"x\\u2028\\u001b[31m": unknown key; Known here: image, images, clusters, jobs',
        'image.base: found "a\\rb"; expected one line without control characters',
    ]
