"""What may stand in code, inputs and outputs, in a file and as options."""

from pathlib import Path

import pytest

from hpcdeploy.cli.job_options import as_settings, takes_job_options
from hpcdeploy.config.files import load_project
from hpcdeploy.config.job_files import destination_path, output_pattern
from hpcdeploy.config.job_schema import read_options
from hpcdeploy.config.named_files import admit_all
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.resolution import resolve_job, resolve_job_here
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Code, Input


def project(tmp_path: Path, job: str) -> Project:
    text = f'[image]\n[clusters.hpc]\nhost = "local"\n[jobs.train]\n{job}\n'
    (tmp_path / "hpcdeploy.toml").write_text(text, encoding="utf-8")
    return load_project(tmp_path, {"HOME": "/nonexistent"})


def settings(**given: object) -> JobSettings:
    def verb(**_options: object) -> None: ...

    takes_job_options(verb)
    every = dict.fromkeys(name for name in verb.__annotations__ if name != "return")
    return read_options(as_settings({**every, **given}, ()))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('code = "."', Code()),
        ('code = "src"', Code(source="src")),
        ("code = {}", Code()),
        (
            'code = { source = "~/x", destination = "/opt/x", limit = "2 GB" }',
            Code(source="~/x", destination="/opt/x", limit=2048),
        ),
        ('code = { destination = "src/" }', Code(destination="src")),
        ("code = false", None),
        ("", None),
    ],
)
def test_code_is_a_folder_a_table_or_none(said: str, expected: Code | None, tmp_path: Path) -> None:
    assert resolve_job(project(tmp_path, said), "train", "hpc", admit=admit_all).code == expected


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("code = true", 'expected a folder, such as code = ".", or false for no code'),
        ('code = ""', "expected text that is not blank"),
        ('code = "~other/x"', "expected a path that is relative to the project's folder"),
        ('code = { destination = "../x" }', '"." and ".." are not allowed'),
        ('code = { destination = "program.sh" }', "hpcdeploy uses program.sh in the working folder"),
        ("code = { limit = 3 }", "expected"),
        ('code = { sauce = "x" }', "did you mean source"),
        ('inputs = "data"', "expected a list"),
        ('inputs = ["a:b:c"]', "expected a file or folder on this machine"),
        ('inputs = ["a:"]', "expected a file or folder on this machine"),
        ('inputs = [".."]', "without a destination; expected both"),
        ('inputs = ["a", "b/a"]', 'two inputs have the destination "a"'),
        ('inputs = ["a:x", "b:x/y"]', 'two inputs have the destination "x"'),
        ('inputs = [{ destination = "x" }]', "the key source is missing"),
        ('inputs = [{ source = "a", destination = ".." }]', "expected an absolute path in the container"),
        ('inputs = ["b", { source = "a", what = 1 }]', "unknown key"),
        ('inputs = [{ source = "a", destination = "x\\ty" }]', "without control characters"),
        ('inputs = ["a:tmp/x"]', "hpcdeploy uses tmp in the working folder"),
        ('inputs = ["a:var_tmp"]', "hpcdeploy uses var_tmp in the working folder"),
        ('inputs = ["a:_condor_stdout"]', "HTCondor or hpcdeploy uses _condor_stdout"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(said: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        project(tmp_path, said)
    assert why in str(refused.value)


def test_inputs_have_places_of_their_own(tmp_path: Path) -> None:
    said = 'inputs = ["data/a.csv", "b:in/b", "data/", { source = "c:d", destination = "/c d" }]'
    assert resolve_job(project(tmp_path, said), "train", "hpc").inputs == (
        Input(source="data/a.csv", destination="a.csv"),
        Input(source="b", destination="in/b"),
        Input(source="data/", destination="data"),
        Input(source="c:d", destination="/c d"),
    )


def test_options_say_the_same_and_the_later_place_wins(tmp_path: Path) -> None:
    known = project(tmp_path, 'code = "src"\ninputs = ["a", "b"]')
    job = resolve_job(known, "train", "hpc", settings(code="other", input=["c:a", "d"]))
    assert job.code == Code(source=str(Path("other").absolute()))
    assert job.inputs == (
        Input(source=str(Path("c").absolute()), destination="a"),
        Input(source="b", destination="b"),
        Input(source=str(Path("d").absolute()), destination="d"),
    )
    assert resolve_job(known, "train", "hpc", settings(no_code=True)).code is None
    with pytest.raises(ConfigError, match="--code and --no-code contradict"):
        settings(code="x", no_code=True)


@pytest.mark.parametrize("said", ["model.pt", "plots/*.png", "plots/", "a b/[a-z]?", ".hidden", "-dash", "$HOME", "naïve"])
def test_a_pattern_is_what_a_shell_reads(said: str) -> None:
    assert output_pattern(said) == said.removesuffix("/")


@pytest.mark.parametrize("said", ["/etc", "../x", "a/../b", ".", "./x", "a//b", "**/x", "a\\b", "", "a\nb", 3])
def test_a_pattern_that_leads_out_or_means_two_things_is_refused(said: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        output_pattern(said)


@pytest.mark.parametrize("said", ["/", "a//b", "./a", "a/./b", "/a/../b", ""])
def test_a_place_is_plain(said: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        destination_path(said)


def test_outputs_of_the_later_place_win_and_contradict_htcondors_own_list(tmp_path: Path) -> None:
    known = project(tmp_path, 'outputs = ["model.pt", "plots/"]')
    assert resolve_job(known, "train", "hpc").outputs == ("model.pt", "plots")
    assert resolve_job(known, "train", "hpc", settings(outputs=["*"])).outputs == ("*",)
    both = 'outputs = ["a"]\nhtcondor = { transfer_output_files = "a" }\n[clusters.hpc]\nscheduler = "htcondor"'
    with pytest.raises(
        ConfigError, match=r"outputs and htcondor.transfer_output_files request the same thing; expected only one"
    ):
        resolve_job(project(tmp_path, both.replace("[clusters.hpc]", "[clusters.other]")), "train", "other")


def test_here_the_code_and_inputs_with_absolute_places_are_bound_from_where_they_lie(tmp_path: Path) -> None:
    known = project(tmp_path, 'code = "src"\ninputs = ["a:/in/a", "b"]\nbinds = ["/data"]')
    job = resolve_job_here(known, "train", admit=admit_all)
    assert [(bind.source, bind.destination, bind.read_only) for bind in job.binds] == [
        ("/data", "", False),
        (str(tmp_path / "src"), "/code", True),
        (str(tmp_path / "a"), "/in/a", True),
    ]
    assert job.environment == (("HPCDEPLOY_CODE", "/code"),)
    relative = resolve_job_here(project(tmp_path, 'code = { source = "src", destination = "x" }'), "train")
    assert (relative.binds, relative.environment) == ((), (("HPCDEPLOY_CODE", str(tmp_path / "src")),))
