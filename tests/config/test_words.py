"""Single values after an option or in a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.config.directives import parse_directive
from hpcdeploy.config.words import parse_array, parse_bind, parse_variable
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("/data", Bind(source="/data")),
        ("$SCRATCH/a b:/mnt", Bind(source="$SCRATCH/a b", destination="/mnt")),
        ("${SCRATCH}:/mnt:ro", Bind(source="${SCRATCH}", destination="/mnt", read_only=True)),
        ("/data:/mnt:rw", Bind(source="/data", destination="/mnt")),
        ("/data::ro", Bind(source="/data", read_only=True)),
    ],
)
def test_binds_as_apptainer_writes_them(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "~/data",
            'found "~/data"; expected an absolute path on the cluster, or one that starts with $VAR: write "$HOME/data"',
        ),
        ("data", 'found "data"; expected an absolute path on the cluster, or one that starts with $VAR'),
        ("/data:mnt", 'found "mnt"; expected an absolute path in the image, such as "/app"'),
        ("", 'found ""; expected some text: leave the key out instead'),
        (
            "/data:/mnt:readonly",
            (
                'found "/data:/mnt:readonly"; expected one folder of the cluster as "SOURCE", "SOURCE:DESTINATION" or'
                ' "SOURCE:DESTINATION:ro", or { source = "…", destination = "…" }'
            ),
        ),
        ("/a\n/b", r'found "/a\n/b"; expected one line without control characters'),
    ],
)
def test_what_is_no_bind_is_refused_with_advice(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_bind(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("100", Array(size=100)),
        ("0-99", Array(size=100)),
        ("0-99%10", Array(size=100, throttle=10)),
        ("7%2", Array(size=7, throttle=2)),
        ("0-0", Array(size=1)),
    ],
)
def test_arrays_as_sbatch_writes_them(text: str, array: Array) -> None:
    assert parse_array(text) == array


def test_an_array_that_does_not_start_at_0_is_refused_with_the_range_to_write() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_array("1-100")
    assert str(refused.value) == (
        'found "1-100"; expected a number of tasks, or "0-99%10" for tasks 0 to 99, ten at once'
        ': tasks are counted from 0, so write "0-99"'
    )


@pytest.mark.parametrize("text", ["0", "", "1,3", "0-8:2", "%3", "-1", "0-99%", "9" * 5000])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^found "):
        parse_array(text)


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_an_array_is_read_back_as_it_was_written(size: int, throttle: int) -> None:
    assert parse_array(f"0-{size - 1}%{throttle}") == Array(size=size, throttle=throttle)


def test_directives_as_options_write_them() -> None:
    assert parse_directive("constraint=a100&nvlink", "slurm") == ("constraint", "a100&nvlink")
    assert parse_directive("exclusive", "slurm") == ("exclusive", True)
    assert parse_directive("gres=gpu:a100=1", "slurm") == ("gres", "gpu:a100=1")
    assert parse_directive('+Project = "physics"', "htcondor") == ("+Project", '"physics"')
    assert parse_directive("My.Lab=true", "htcondor") == ("My.Lab", "true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chdir=/x", "not a free directive: use the key workdir"),
        ("array=1-3", "not a free directive: use the key array"),
        ("output=x", "not a free directive: output and errors go to the run's own folder; see them with: hpcdeploy logs"),
        ("wrap=true", "not a free directive: use the key command"),
        ("p=gpu", 'found "p"; expected the long name of an option of sbatch, such as "constraint"'),
        ("--exclusive", 'found "--exclusive"; expected the long name of an option of sbatch, such as "constraint"'),
        ("mail-user=a\n#SBATCH --x", r'found "a\n#SBATCH --x"; expected one line without control characters'),
        ("mail-user=", 'found ""; expected some text: leave the key out instead'),
    ],
)
def test_what_would_break_a_batch_script_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_directive(text, "slurm")
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Executable=/bin/sh", "not a free directive: use the key command"),
        ("QUEUE=3", "not a free directive: use the key array"),
        ("+Environment=x", "not a free directive: use the key environment"),
        ("+HpcdeployRun=x", "not a free directive: attributes of that name carry the run's id"),
        ("if=x", "not a free directive: it is a statement of the submit language, not a setting"),
        ("rank=a\\", r'found "a\\"; expected no backslash at the end: it would join the next line to this one'),
        ("rank=a\nqueue", r'found "a\nqueue"; expected one line without control characters'),
        ("rank", 'found "rank"; expected NAME=VALUE'),
        ("a b=c", 'found "a b"; expected a submit command such as "rank", or "+Name" for a job attribute'),
    ],
)
def test_what_would_break_a_submit_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_directive(text, "htcondor")
    assert str(refused.value) == message


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_a_variables_value_may_be_any_text(value: str) -> None:
    assert parse_variable(f"NAME={value}") == ("NAME", value)


@pytest.mark.parametrize(
    "text", ["NAME", "1A=x", "A-B=x", "=x", "HPCDEPLOY_RUN=x", "APPTAINER_BIND=/x", "APPTAINERENV_A=b", "A=\0"]
)
def test_a_variable_that_cannot_be_set_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^found "):
        parse_variable(text)


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    for parse in (
        parse_bind,
        parse_array,
        parse_variable,
        lambda words: parse_directive(words, "slurm"),
        lambda words: parse_directive(words, "htcondor"),
    ):
        refused = ""
        try:
            parse(text)
        except ConfigError as error:
            refused = str(error)
        assert "\n" not in refused
