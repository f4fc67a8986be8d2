"""Sweeps in every form that they are written in: the same tasks, and every value as it was written."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import read_sweep
from hpcdeploy.config.job_schema import JOB, read_options
from hpcdeploy.config.project import JobSettings, Project, job_settings
from hpcdeploy.config.reading import Report, parse_document, read
from hpcdeploy.config.resolution import resolve_job, resolve_job_here
from hpcdeploy.config.sweeps import parse_csv, parse_json_lines, parse_values
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings
from hpcdeploy.job import Array, SweepFile
from hpcdeploy.parameters import Parameters
from hpcdeploy.source import PixiSource

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def settings(toml: str) -> JobSettings:
    report = Report(file="hpcdeploy.toml")
    values = read(JOB, parse_document(toml.encode(), "hpcdeploy.toml"), report)
    report.raise_problems()
    return job_settings(values)


def rows(toml: str) -> tuple[tuple[str, ...], ...]:
    array = settings(toml).array
    assert isinstance(array, Array)
    assert array.parameters
    assert array.size == len(array.parameters.rows)
    return array.parameters.rows


def project(job: JobSettings, root: Path = Path("/p")) -> Project:
    return Project(
        root=root,
        images={"gpu": ImageSettings(name="gpu", source=PixiSource())},
        clusters={"hpc": Cluster(name="hpc")},
        jobs={"train": job},
    )


def test_a_grid_is_every_combination_and_the_last_name_changes_fastest() -> None:
    array = settings("sweep = { grid = { lr = [0.1, 0.01], seed = [1, 2, 3] }, throttle = 4 }").array
    parameters = Parameters(
        names=("lr", "seed"), rows=(("0.1", "1"), ("0.1", "2"), ("0.1", "3"), ("0.01", "1"), ("0.01", "2"), ("0.01", "3"))
    )
    assert array == Array(size=6, throttle=4, parameters=parameters)


def test_a_list_is_a_task_for_each_item_whatever_the_order_of_its_names() -> None:
    assert rows('sweep = { list = [{ lr = 0.1, name = "a b" }, { name = "", lr = 1 }] }') == (("0.1", "a b"), ("1", ""))


def test_numbers_keep_their_spelling_and_truth_is_said_as_json_says_it() -> None:
    said = 'sweep = { grid = { x = [0.10, 1e-4, 5E+22, 1_000, 1_0.5, -0.0, 7, true, false, "0x1F", inf] } }'
    assert [row[0] for row in rows(said)] == [
        "0.10",
        "1e-4",
        "5E+22",
        "1000",
        "10.5",
        "-0.0",
        "7",
        "true",
        "false",
        "0x1F",
        "inf",
    ]
    lines = b'{"x": 0.10}\n{"x": 1e-4}\n{"x": 12345678901234567890123}\n{"x": true}\n{"x": "true"}\n'
    assert [row[0] for row in parse_json_lines(lines).rows] == ["0.10", "1e-4", "12345678901234567890123", "true", "true"]


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1))
def test_json_lines_bring_every_value_as_it_is(values: list[tuple[str, str]]) -> None:
    lines = "".join(json.dumps({"a": a, "b": b}) + "\r\n" for a, b in values)
    assert parse_json_lines(lines.encode()).rows == tuple(values)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1))
def test_csv_brings_every_value_as_it_is(values: list[tuple[str, str]]) -> None:
    quoted = [",".join('"{}"'.format(value.replace('"', '""')) for value in row) for row in values]
    assert parse_csv("\r\n".join(["a,b", *quoted]).encode()).rows == tuple(values)


def test_csv_as_spreadsheets_and_people_write_it() -> None:
    read = parse_csv('\ufefflr,note\r\n0.10, plain \r\n\r\n1e-3,"a, ""b""\nc"\r\n,\u2028\r\n'.encode())
    assert read == Parameters(names=("lr", "note"), rows=(("0.10", " plain "), ("1e-3", 'a, "b"\nc'), ("", "\u2028")))
    assert parse_csv(b'x\n""\n1\n').rows == (("",), ("1",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found no task"),
        (b"lr,seed\n", "found no task"),
        (b"lr,lr\n1,2\n", "line 1: found the column lr twice"),
        (b"lr,learning rate\n1,2\n", 'line 1: found "learning rate"; expected a name of letters'),
        (b"lr,seed\n1,2\n3\n", "line 3: found 1 values; expected 2, one for each of lr, seed"),
        (b'lr\n"1\n', "line 2: unexpected end of data"),
        (b"lr\n1\n\xff\n", "line 3: not UTF-8"),
        (b"lr\n\0\n", "line 2: "),
        (b"lr;seed\n0,1;2\n", 'line 1: found "lr;seed"; expected commas between the names'),
        (b"lr\tseed\n1\t2\n", 'line 1: found "lr\\tseed"; expected commas between the names'),
        (b"lr,\n1,\n", 'line 1: found ""; expected a name of letters'),
        (b'lr\n"a"b\n', "line 2: ',' expected after '\"'; a value with a comma, a \" or a line break must be in"),
    ],
)
def test_what_is_wrong_with_csv_is_said_with_its_line(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        parse_csv(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n\n", "found no task"),
        (
            b'{"lr": 1}\n{"seed": 1}\n',
            "line 2: this task has no lr and also has seed; expected the parameters of the first task",
        ),
        (b'{"lr": 1, "lr": 2}\n', "line 1: found a parameter's name twice"),
        (b"[1]\n", "line 1: found a list; expected an object"),
        (b'{"lr": null}\n', "line 1: found null; expected a string, a number"),
        (b'{"lr": [1]}\n', "line 1: found a list"),
        (b"{}\n", "line 1: this task has no parameters"),
        (b'{"lr": "\\ud800"}\n', "line 1: found"),
        (b'{"lr": "\\u0000"}\n', "line 1: found"),
        (b"{lr: 1}\n", "line 1: Expecting property name"),
        (b'[{"lr": 1},\n{"lr": 2}]\n', "line 1: Expecting value: line 1 column 12 (char 11); expected one object"),
        (b'{"lr": 1}{"lr": 2}\n', "line 1: Extra data: line 1 column 10 (char 9); expected one object per line"),
        (b'{"lr": {"a": 1}}\n', "line 1: found a table"),
        (b'{"PATH": 1, "0a": 2}\n', 'line 1: found "0a"'),
        (b'{"lr": ' + b"[" * 100_000 + b"}\n", "line 1: maximum recursion depth exceeded"),
    ],
)
def test_what_is_wrong_with_json_lines_is_said_with_its_line(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        parse_json_lines(content)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("sweep = {}", "found none of the keys grid, list, file"),
        ("sweep = { throttle = 3 }", "found none of the keys grid, list, file"),
        ('sweep = { grid = { a = [1] }, file = "a.csv" }', "found grid and file of"),
        ("sweep = { grid = {} }", "found an empty table"),
        ("sweep = { grid = { a = [] } }", "sweep.grid.a: found an empty list"),
        ("sweep = { grid = { a = 1 } }", "sweep.grid.a: found 1; expected a list of values"),
        ("sweep = { grid = { a-b = [1] } }", "expected a name of letters"),
        ("sweep = { list = [] }", "sweep.list: found an empty list"),
        ("sweep = { list = [{ a = 1 }, { b = 1 }] }", "item 1 has no a and also has b"),
        ("sweep = { list = [{ a = 2026-01-01 }] }", "the date or time 2026-01-01; expected a string"),
        ("sweep = { list = [{}] }", "has no parameters"),
        ('sweep = { file = "a.txt" }', "ends in .csv or .jsonl"),
        ("sweep = { grid = { a = [1] } }\narray = 3", "both array and sweep"),
        ("sweep = { gird = { a = [1] } }", "did you mean grid?"),
        ("sweep = { grid = { a = [" + "1," * 2000 + "], b = [" + "1," * 2000 + "] } }", "found 4000000 tasks"),
    ],
)
def test_a_sweep_that_is_none_is_refused(toml: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        settings(toml)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("0.1,0.01", ("0.1", "0.01")),
        ("", ("",)),
        ("a,", ("a", "")),
        (' a ,b"c', (" a ", 'b"c')),
        ('"a,b",c', ("a,b", "c")),
        ("$HOME,caf\udce9", ("$HOME", "caf\udce9")),
    ],
)
def test_values_of_an_option_are_cut_at_commas(words: str, values: tuple[str, ...]) -> None:
    assert parse_values(words) == values


def test_a_file_is_read_from_the_projects_folder_when_the_job_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lr\n0.1\n")
    job = settings('sweep = { file = "p.csv", throttle = 2 }\ncommand = ["train", "--lr={lr}"]')
    array = resolve_job(project(job, tmp_path), "train", "hpc").array
    assert array == Array(size=1, throttle=2, parameters=Parameters(names=("lr",), rows=(("0.1",),)))
    with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read: No such file"):
        read_sweep(SweepFile(path="gone.csv"), tmp_path)
    (tmp_path / "bad.csv").write_text("lr\n1,2\n")
    with pytest.raises(ConfigError, match=r"bad\.csv: line 2: found 2 values"):
        read_sweep(SweepFile(path="bad.csv"), tmp_path)
    assert read_sweep(SweepFile(path="~/p.csv"), Path("/"), {"HOME": str(tmp_path)}).size == 1


def test_the_later_of_array_and_sweep_wins_and_a_throttle_is_for_whatever_there_is() -> None:
    swept = settings("sweep = { grid = { a = [1, 2] } }")
    assert resolve_job(project(swept), "train", "hpc", read_options({"array": "0-3"})).array == Array(size=4)
    again = resolve_job(
        project(settings("array = 9")), "train", "hpc", read_options({"sweep": {"grid": {"a": ["1"]}}})
    ).array
    assert again == Array(size=1, parameters=Parameters(names=("a",), rows=(("1",),)))
    slow = resolve_job(project(swept), "train", "hpc", read_options({"throttle": 1})).array
    assert slow
    assert (slow.size, slow.throttle) == (2, 1)
    with pytest.raises(ConfigError, match="no array and no sweep"):
        resolve_job(project(JobSettings()), "train", "hpc", read_options({"throttle": 1}))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('command = ["--lr={lrr}"]', "job train: command[0]: found {lrr} in '--lr={lrr}'; no parameter of the sweep has"),
        ('command = ["{lrr}"]', "did you mean {lr}?"),
        ('command = ["{zz}"]', "known: {lr}, {seed}."),
        ('environment = { X = "{lr} {" }', "job train: environment.X: found an unmatched brace in '{lr} {'"),
        ('command = ["print({})"]', "or {{ for a literal brace"),
        ('command = ["{ lr }"]', "an unmatched brace"),
    ],
)
def test_a_placeholder_that_is_none_is_refused_with_its_place(toml: str, said: str) -> None:
    job = settings(f"sweep = {{ grid = {{ lr = [1], seed = [1] }} }}\n{toml}")
    with pytest.raises(ConfigError, match=re.escape(said)):
        resolve_job(project(job), "train", "hpc")


def test_braces_mean_nothing_where_no_sweep_is() -> None:
    job = settings('array = 3\ncommand = ["{lr}", "}", "{{"]')
    assert resolve_job(project(job), "train", "hpc").command == ("{lr}", "}", "{{")


def test_on_this_machine_a_sweep_is_its_first_task() -> None:
    toml = 'sweep = { grid = { lr = [0.1, 0.01] } }\ncommand = ["--lr={lr}", "{{}}"]\nenvironment = { X = "{lr}!" }'
    job = resolve_job_here(project(settings(toml)), "train")
    assert job.command == ("--lr=0.1", "{}")
    assert job.environment == (("HPCDEPLOY_PARAM_lr", "0.1"), ("X", "0.1!"))
    assert job.array is None
