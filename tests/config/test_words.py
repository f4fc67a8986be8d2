"""Single values after an option or in a file."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.config.job_schema import JOB
from hpcdeploy.config.reading import Report, read
from hpcdeploy.config.validators import capability, parse_array, parse_bind, version
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
        ("~/data:/mnt", Bind(source="$HOME/data", destination="/mnt")),
        ("~:/mnt", Bind(source="$HOME", destination="/mnt")),
    ],
)
def test_binds_as_apptainer_writes_them(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "~other/data",
            'found "~other/data"; expected an absolute path on the cluster, or one that starts with ~/ or $VAR',
        ),
        (
            "/a,/b",
            (
                'found "/a,/b"; expected a path on the cluster, as "SOURCE", "SOURCE:DESTINATION" or'
                ' "SOURCE:DESTINATION:ro", or { source = "…", destination = "…" }'
            ),
        ),
        ("data", 'found "data"; expected an absolute path on the cluster, or one that starts with ~/ or $VAR'),
        ("/data:mnt", 'found "mnt"; expected an absolute path in the image, such as "/app"'),
        ("", 'found ""; expected text that is not blank; or omit the key'),
        (
            "/data:/mnt:readonly",
            (
                'found "/data:/mnt:readonly"; expected a path on the cluster, as "SOURCE", "SOURCE:DESTINATION" or'
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
        ("0", Array(size=1)),
        ("0%1", Array(size=1, throttle=1)),
    ],
)
def test_arrays_as_sbatch_writes_them(text: str, array: Array) -> None:
    assert parse_array(text) == array


def test_an_array_that_does_not_start_at_0_is_refused_with_the_range_to_write() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_array("1-100")
    assert str(refused.value) == (
        'found "1-100"; expected a number of tasks, or "0-99%10" for tasks 0 to 99, ten at once'
        ': task numbers start at 0, so use "0-99"'
    )


@pytest.mark.parametrize("text", ["", "1,3", "0-8:2", "%3", "-1", "0-99%", "9" * 5000])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^found "):
        parse_array(text)


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_an_array_is_read_back_as_it_was_written(size: int, throttle: int) -> None:
    assert parse_array(f"0-{size - 1}%{throttle}") == Array(size=size, throttle=throttle)


def said_of(key: str, raw: object) -> tuple[object, list[str]]:
    """Return what a job's `key` is read as, and the problems."""
    report = Report(file="f")
    return read(JOB, {key: raw}, report).get(key), report.problems


@pytest.mark.parametrize("raw", ["0", 0, "0 GB", "0.0MiB", "00"])
def test_all_memory_of_a_node_is_an_option_of_slurm(raw: object) -> None:
    _, [problem] = said_of("memory", raw)
    assert 'To request all memory of a node, use slurm = { mem = "0" } instead of this key' in problem
    assert "mem = " not in said_of("disk", raw)[1][0]


@pytest.mark.parametrize("raw", ["0", 0, "0 h", "0:00:00"])
def test_no_time_limit_is_an_option_of_slurm(raw: object) -> None:
    _, [problem] = said_of("time", raw)
    assert 'For a job without a time limit, use slurm = { time = "0" } instead of this key' in problem


@pytest.mark.parametrize(("raw", "count"), [(0, 0), ("0", 0), ("2", 2), (2, 2)])
def test_a_number_of_gpus_may_be_a_string(raw: object, count: int) -> None:
    assert said_of("gpus", raw) == (count, [])


def test_directives_pass_through_as_they_stand() -> None:
    slurm = {"constraint": "a100&nvlink", "exclusive": True, "requeue": False, "gres": "gpu:a100=1", "nice": 100}
    assert said_of("slurm", slurm) == ({**slurm, "nice": "100"}, [])
    htcondor = {"+Project": '"physics"', "My.Lab": True, "priority": -3, "rank": "Memory > 3"}
    assert said_of("htcondor", htcondor) == ({**htcondor, "My.Lab": "true", "priority": "-3"}, [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("chdir", "/x", "slurm.chdir: must not be set: use the key workdir"),
        ("array", "1-3", "slurm.array: must not be set: use the key array"),
        ("parsable", True, "slurm.parsable: must not be set: hpcdeploy writes it itself"),
        ("wrap", "true", "slurm.wrap: must not be set: use the key command"),
        ("p", "gpu", 'slurm.p: found "p"; expected the long name of an option of sbatch, such as "constraint"'),
        ("--x", True, 'slurm.--x: found "--x"; expected the long name of an option of sbatch, such as "constraint"'),
        (
            "comment",
            "x",
            (
                "slurm.comment: must not be set: hpcdeploy writes the run's id to it, "
                "to find the job again after a lost connection"
            ),
        ),
        ("prefer", "a\n#SBATCH --x", r'slurm.prefer: found "a\n#SBATCH --x"; expected one line without control characters'),
        ("prefer", "", 'slurm.prefer: found ""; expected text that is not blank; or omit the key'),
        ("prefer", 1.5, 'slurm.prefer: found 1.5; expected a string: write "1.5"'),
    ],
)
def test_what_would_break_a_batch_script_is_refused(key: str, value: object, message: str) -> None:
    assert said_of("slurm", {key: value})[1] == [message]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Executable", "/bin/sh", "htcondor.Executable: must not be set: use the key command"),
        ("QUEUE", 3, "htcondor.QUEUE: must not be set: use the key array"),
        (
            "universe",
            "vanila",
            "htcondor.universe: must not be set: the cluster's key htcondor-container chooses it",
        ),
        (
            "Log_XML",
            True,
            (
                "htcondor.Log_XML: must not be set: hpcdeploy reads the run's states from HTCondor's job log, "
                "which must have the default format"
            ),
        ),
        (
            "Image_File",
            "/x.sif",
            "htcondor.Image_File: must not be set: hpcdeploy's submit description uses that name",
        ),
        ("+Environment", "x", 'htcondor."+Environment": must not be set: use the key environment'),
        (
            "+HpcdeployRun",
            "x",
            'htcondor."+HpcdeployRun": must not be set: hpcdeploy sets the attributes whose names start with hpcdeploy',
        ),
        (
            "if",
            "x",
            "htcondor.if: must not be set: this name is a statement of the submit language, not a submit command",
        ),
        (
            "rank",
            "a\\",
            (
                r'htcondor.rank: found "a\\"; expected no backslash at the end, because'
                " HTCondor would read the next line as a part of this value"
            ),
        ),
        ("rank", "a\nqueue", r'htcondor.rank: found "a\nqueue"; expected one line without control characters'),
        (
            "a b",
            "c",
            'htcondor."a b": found "a b"; expected a submit command such as "rank", or "+Name" for a job attribute',
        ),
    ],
)
def test_what_would_break_a_submit_file_is_refused(key: str, value: object, message: str) -> None:
    assert said_of("htcondor", {key: value})[1] == [message]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_a_variables_value_may_be_any_text(value: str) -> None:
    assert said_of("environment", {"NAME": value}) == ({"NAME": value}, [])


@pytest.mark.parametrize(
    "name", ["1A", "A-B", "", "A\n", "HPCDEPLOY_RUN", "APPTAINER_BIND", "APPTAINERENV_A", "Singularity_X"]
)
def test_a_variable_that_cannot_be_set_is_refused(name: str) -> None:
    assert len(said_of("environment", {name: "x"})[1]) == 1


_REACHES_PROGRAM = """
for name in $(compgen -v; echo FOO PATH IFS PWD TZ LANG); do
  for shell in dash "bash --posix"; do
    value=$(env -i PATH=/usr/bin:/bin $shell -c "export $name='7x y'; true; exec /usr/bin/env" 2>/dev/null)
    [[ $'\\n'$value$'\\n' == *$'\\n'"$name=7x y"$'\\n'* ]] || echo "$name"
  done
done | sort -u
"""


def test_every_variable_that_a_shell_keeps_for_itself_is_refused() -> None:
    done = subprocess.run(
        ["bash", "-c", _REACHES_PROGRAM], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    kept = done.stdout.split()
    assert {"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "OPTIND", "_"} <= {*kept}
    for name in kept:
        values, problems = said_of("environment", {name: "x"})
        assert len(problems) == 1, (name, values)
        assert f'found "{name}"; expected a variable that shells do not manage' in problems[0]
        assert "BASHOPTS, BASHPID" in problems[0]


@pytest.mark.parametrize("name", ["USER", "PWD", "IFS", "Uid", "OMP_NUM_THREADS", "GID", "__", "BASH_ENV"])
def test_other_variables_are_the_jobs_own(name: str) -> None:
    assert said_of("environment", {name: "x"})[1] == []


def test_a_variables_value_holds_no_nul() -> None:
    assert said_of("environment", {"A": "\0"})[1] == [
        r'environment.A: found "\u0000"; expected a string without NUL characters, which cannot be passed to a program'
    ]


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    for parse in (parse_bind, parse_array):
        refused = ""
        try:
            parse(text)
        except ConfigError as error:
            refused = str(error)
        assert "\n" not in refused


@pytest.mark.parametrize(
    ("said", "bounds"),
    [("8.0", ("8.0", "")), ("7.5-9.0", ("7.5", "9.0")), (" 8.0 - 8.0 ", ("8.0", "8.0")), ("12.1", ("12.1", ""))],
)
def test_a_compute_capability_is_the_least_or_the_least_and_the_most(said: str, bounds: tuple[str, str]) -> None:
    assert capability(said) == bounds


@pytest.mark.parametrize("said", ["", "8", "9.0-7.5", "8.0-", "sm_80", "8.00", 8.0])
def test_what_is_no_compute_capability_is_refused_with_an_example(said: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        capability(said)


def test_a_version_of_cuda_has_two_numbers() -> None:
    assert version("12.4") == "12.4"
    for said in ("12", "12.4.1", "v12.4", 12.4):
        with pytest.raises(ConfigError, match="expected"):
            version(said)
