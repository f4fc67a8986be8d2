"""Each command means the runs of the project that it is called in; it touches others only where they are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.job import Request
from hpcdeploy.run import RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path
from tests.cli.test_command import Project
from tests.scheduler.samples import PLAIN, run_of


class Two:
    """A project without runs, and another one with a run."""

    def __init__(self, folder: Path) -> None:
        self.mine, self.other = folder / "mine", folder / "other"
        self.mine.mkdir()
        self.other.mkdir()
        self.project = Project(self.mine)
        (self.other / "hpcdeploy.toml").write_text("[images.train]\n")
        self.store = Store(default_path(self.project.environment))
        self.add("train-1", self.other)

    def add(self, run_id: str, project: Path) -> None:
        run = replace(run_of(PLAIN, run_id=run_id, job_id="7"), job="train", project=str(project))
        self.store.add(run, "", request=Request(project=str(project)))
        self.store.learned(RunStatus(run=run, tasks=(TaskStatus(task=0, state=State.RUNNING),), asked=1))

    def run(self, *words: str, folder: Path | None = None) -> tuple[int, str, str]:
        self.project.folder = folder or self.mine
        done = self.project.run(*words)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_a_project_without_runs_cancels_nothing_of_another(two: Two) -> None:
    for words in (("cancel", "-y"), ("cancel", "train", "-y"), ("cancel", "train", "-y", "--all")):
        code, out, err = two.run(*words)
        assert (code in (2, 72), out) == (True, "")
        assert "this project has no run" in err or "has no runs yet" in err


@pytest.mark.parametrize("verb", ["cancel", "logs", "fetch", "status", "wait", "results", "rerun"])
def test_outside_of_a_project_nothing_is_guessed(two: Two, tmp_path: Path, verb: str) -> None:
    code, out, err = two.run(verb, folder=tmp_path)
    assert (code, out) == (2, "")
    assert f"{verb} needs a run, because {tmp_path} is not in a project" in err


def test_cancel_names_project_cluster_and_age_before_it_asks(two: Two) -> None:
    two.add("train-2", two.mine)
    code, out, err = two.run("cancel")
    assert (code, out.strip()) == (1, "")
    assert "Cancel train-2 (this project, cluster hpc, RUNNING, submitted " in err
    assert " ago)? [y/N]" in err
    assert "standard input is not a terminal" in err
    assert "use --yes" in err
    two.add("train-3", two.mine)
    code, _, err = two.run("cancel", "train")
    assert err.count("(this project, cluster hpc, RUNNING") == 2
    assert "Cancel these 2 runs?" in err
    assert f"train-1 (project {two.other}, cluster hpc," in two.run("cancel", "train-1")[2]


def test_runs_lists_this_project_and_on_demand_others(two: Two, tmp_path: Path) -> None:
    two.add("train-2", two.mine)

    def listed(*words: str, folder: Path | None = None) -> set[str]:
        return {one["id"] for one in json.loads(two.run("runs", "--json", *words, folder=folder)[1])}

    assert listed() == {"train-2"}
    assert listed("--all") == listed(folder=tmp_path) == {"train-1", "train-2"}
    assert listed("--project", "other") == {"train-1"}
    assert "PROJECT" in two.run("runs", "--all")[1]
    assert "PROJECT" not in two.run("runs")[1]
    assert two.run("runs", "--all", "--project", "other")[0] == 2


def test_a_moved_project_is_found_again_as_rerun_says(two: Two, tmp_path: Path) -> None:
    new = two.other.rename(tmp_path / "new")
    code, _, err = two.run("rerun", "train-1", folder=new)
    assert code == 2
    assert f"hpcdeploy runs --moved-from {two.other}" in err
    code, out, err = two.run("runs", "--moved-from", str(two.other), "--json", folder=new)
    assert (code, json.loads(out)[0]["project"]) == (0, str(new))
    assert f"1 run of {two.other} now recorded as runs of {new}" in err
