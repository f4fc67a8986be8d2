"""A field of a job is declared in one place: a line more there is a key, an option and a line of the reference."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.config.job_schema import VALUES
from hpcdeploy.config.project import JobSettings
from hpcdeploy.job import SETTINGS, Job, Resources
from hpcdeploy.job_field import settings_of
from hpcdeploy.scheduler.htcondor.submit_description import UNSUPPORTED

ROOT = Path(__file__).parents[2]
BEFORE = "    cpus: int | None = _request("
ADDED = """\
    licenses: str | None = _request(
        "line",
        "licenses of the site",
        Option("-L --licenses", "Licenses of the site.", completions=("matlab",)),
        only="slurm",
    )
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of hpcdeploy with one declaration more, and a project that uses it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "hpcdeploy", folder / "hpcdeploy", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "hpcdeploy" / "job.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    file.write_text(text.replace(BEFORE, ADDED + BEFORE), encoding="utf-8")
    settings = (
        '[clusters.hpc]\nhost = "local"\n[clusters.hpc.defaults]\nlicenses = "abaqus"\n[jobs.train]\nimage = "x.sif"\n'
    )
    (folder / "hpcdeploy.toml").write_text(settings, encoding="utf-8")
    return folder


def python(folder: Path, script: str, *words: str, **environ: str) -> str:
    """Return what `script` prints where hpcdeploy is the copy in `folder`."""
    environ = {**os.environ, "HOME": str(folder), "PYTHONPATH": f"{folder}:{ROOT}", "COLUMNS": "200", **environ}
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        environ.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_settings_and_options_are_read_and_merged_into_the_job(extended: Path) -> None:
    script = """
from pathlib import Path
from hpcdeploy.cli.job_options import as_settings
from hpcdeploy.config.files import load_project
from hpcdeploy.config.job_schema import read_options
from hpcdeploy.config.resolution import resolve_job
from hpcdeploy.job import SETTINGS
project = load_project(Path())
print(project.defaults["hpc"].licenses, resolve_job(project, "train", "hpc").resources.licenses)
given = dict.fromkeys(option.parameter for setting in SETTINGS for option in setting.options)
options = read_options(as_settings({**given, "licenses": "ansys"}, ()))
print(resolve_job(project, "train", "hpc", options).resources.licenses)
"""
    assert python(extended, script).split() == ["abaqus", "abaqus", "ansys"]


def test_a_key_that_nearly_is_the_new_one_is_corrected(extended: Path) -> None:
    script = """
from hpcdeploy.config.reading import Report, read
from hpcdeploy.config.schema import PROJECT_FILE
report = Report(file="f")
read(PROJECT_FILE, {"jobs": {"train": {"licences": "a"}}}, report)
print(report.problems)
"""
    assert "jobs.train.licences: unknown key; did you mean licenses? Known here: image" in python(extended, script)


def test_the_option_is_in_the_help_and_in_what_a_shell_completes(extended: Path) -> None:
    main = "from hpcdeploy.cli.main import main; main()"
    for verb in ("render", "submit", "rerun"):
        [line] = [line for line in python(extended, main, verb, "--help").splitlines() if "--licenses" in line]
        assert "-L" in line
        assert "Licenses of the site (Slurm)." in line
    ask = {"_TYPER_COMPLETE_ARGS": "hpcdeploy submit --licenses m", "_HPCDEPLOY_COMPLETE": "complete_bash"}
    ask |= {"COMP_WORDS": "hpcdeploy submit --licenses m", "COMP_CWORD": "3"}
    app = "from hpcdeploy.cli.main import app; app(prog_name='hpcdeploy')"
    assert python(extended, app, **ask).split() == ["matlab"]
    ask["COMP_WORDS"], ask["COMP_CWORD"] = "hpcdeploy submit --lic", "2"
    assert python(extended, app, **ask).split() == ["--licenses"]


def test_the_reference_page_has_its_line(extended: Path) -> None:
    script = """
from hpcdeploy.job import SETTINGS
from tests.config.reference import defaults_table, jobs_table
print(jobs_table(SETTINGS), defaults_table(SETTINGS))
"""
    page = python(extended, script)
    assert "| `licenses` | string | licenses of the site (Slurm) |\n" in page
    assert "| `licenses` | string | |\n" in page


def test_htcondor_refuses_what_is_declared_for_slurm_alone(extended: Path) -> None:
    script = """
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job, Resources
from hpcdeploy.scheduler.htcondor.submit_description import commands
try:
    commands(Job(name="train", image="x.sif", resources=Resources(licenses="a")), Cluster(name="c"), "run")
except ConfigError as error:
    print(error)
"""
    assert "job 'train' requests licenses = 'a': only Slurm supports it" in python(extended, script)


def test_each_reason_of_htcondor_belongs_to_a_setting_that_it_lacks() -> None:
    assert UNSUPPORTED.keys() <= {setting.field for setting in SETTINGS if setting.only == "slurm"}


def test_every_kind_of_value_is_used_and_every_setting_sets_a_field() -> None:
    assert {setting.value for setting in SETTINGS} == VALUES.keys()
    fields = JobSettings.__dataclass_fields__.keys()
    assert {setting.field for setting in SETTINGS} == set(fields)
    declared = {setting.field for one in (Resources, Job) for setting in settings_of(one.__mro__[1])}
    assert declared <= set(fields)
