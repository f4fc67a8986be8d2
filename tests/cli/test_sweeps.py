"""Sweeps on the command line: what is rendered, and what is said of those that are none."""

from pathlib import Path

import pytest

from tests.cli.test_command import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_options_make_a_grid_and_the_script_says_every_task(project: Project) -> None:
    words = ("render", "train", "--sweep", "lr=0.10,1e-4", "--sweep", 'x="a,b",', "--throttle", "3", "--env", "L={lr}")
    done = project.run(*words, "--", "train", "--lr={lr}", "{{}}")
    assert done.returncode == 0, done.stderr
    script = done.stdout.decode()
    assert "\n0 lr=0.10 x=a\\0054b\n1 lr=0.10 x=\n2 lr=1e-4 x=a\\0054b\n3 lr=1e-4 x=\n" in script
    assert "#SBATCH --array=0-3%3\n" in script
    assert "set -- train --lr=\"$HPCDEPLOY_PARAM_lr\" '{''}'\n" in script
    assert 'export L="$HPCDEPLOY_PARAM_lr"\n' in script


def test_a_file_is_found_from_the_working_folder(project: Project, tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_text('{"lr": 0.10}\n')
    done = project.run("render", "train", "--sweep-file", "my.jsonl")
    assert b"\n0 lr=0.10\n" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep", "lr"), "--sweep 'lr' has no '='; expected NAME=VALUE"),
        (("--sweep", "lr=1", "--sweep", "lr=2"), "--sweep has a parameter twice"),
        (("--sweep", "a-b=1"), "expected a name of letters"),
        (("--sweep", "lr=1", "--sweep-file", "x.csv"), "found grid and file"),
        (("--sweep", "lr=1", "--array", "3"), "both array and sweep"),
        (("--sweep-file", "x.csv"), "x.csv: cannot be read: No such file"),
        (("--sweep-file", "x.txt"), "ends in .csv or .jsonl"),
        (("--throttle", "3"), "no array and no sweep"),
        (("--sweep", "lr=1", "--", "{lrr}"), "did you mean {lr}?"),
    ],
)
def test_a_sweep_that_is_none_is_one_message(project: Project, words: tuple[str, ...], said: str) -> None:
    done = project.run("render", "train", *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["results", "rerun"])
def test_a_run_that_is_not_there_is_said(project: Project, verb: str) -> None:
    done = project.run(verb, "nothing")
    assert (done.returncode, done.stdout) == (72, b"")
