"""An image that is older than the project: refused by what would use it, told by what only shows it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.flows.freshness import inputs_of, note_build
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage
from hpcdeploy.job import Request
from hpcdeploy.known_files import KnownFiles, remembering
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[images.train]
[clusters.hpc]
host = "hpc.invalid"
root = "/scratch/me"
[jobs.fit]
image = "train"
command = ["true"]
"""
MANIFEST = """
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["linux-64"]
[feature.gpu.dependencies]
zlib = "*"
[environments]
gpu = ["gpu"]
"""
LOCK = """version: 6
environments:
  default: {channels: [{url: 'https://conda.anaconda.org/conda-forge/'}], packages: {linux-64: []}}
  gpu: {channels: [{url: 'https://conda.anaconda.org/conda-forge/'}], packages: {linux-64: []}}
packages: []
"""
BUILT = BuiltImage(name="train", sha256="ab" * 32, size=9, inputs="", apptainer="1.4.5", created="2026-01-02T03:04:05Z")
CHANGES = 'the image \'train\' is older than the project: images.train.pixi.environment ("default" before, "gpu" now)'


class Project:
    """A project whose image was built in the environment ``default``, and which asks for ``gpu`` now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        home = folder / "home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
        self.store = Store(default_path(self.environment))
        for name, text in {"pixi.toml": MANIFEST, "pixi.lock": LOCK, "hpcdeploy.toml": SETTINGS}.items():
            (folder / name).write_text(text)
        (folder / "train.sif").write_bytes(b"an image")
        settings = load_project(folder).images["train"]
        with remembering(KnownFiles()) as known:
            definition = generate(settings, folder)
            inputs = inputs_of(definition, settings, folder, known)
        image = replace(BUILT, inputs=definition.inputs, path=str(folder / "train.sif"))
        self.store.built(folder, image)
        self.store.locked(folder, image, LOCK.encode())
        note_build(self.store, folder, image, inputs, known)

    def change(self) -> None:
        text = SETTINGS.replace("[images.train]", '[images.train]\npixi = { environment = "gpu" }')
        (self.folder / "hpcdeploy.toml").write_text(text)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def failed_run(project: Project) -> str:
    """Put a run with a failed task on record, to be run again."""
    run = Run(
        id="fit-1", job="fit", cluster="hpc", scheduler="slurm", image="train", sha256="ab" * 32, tasks=1,
        command=("true",), submitted=0, job_id="7", folder="/x",
    )  # fmt: skip
    project.store.add(run, "", request=Request(project=str(project.folder), job="fit", options={}, array=None))
    project.store.learned(RunStatus(run=run, tasks=(TaskStatus(task=0, state=State.FAILED),), asked=1))
    return run.id


@pytest.mark.parametrize(
    "words",
    [("submit", "fit"), ("run", "fit"), ("run", "train"), ("shell", "train"), ("instance", "start", "train"), "rerun"],
)
def test_what_would_use_an_older_image_refuses_with_what_changed(project: Project, words: tuple[str, ...] | str) -> None:
    given = ("rerun", failed_run(project)) if isinstance(words, str) else words
    assert "older than" not in project.run(*given).stderr
    project.change()
    done = project.run(*given)
    assert done.returncode == 2, done.stderr
    assert f"{CHANGES}; run 'hpcdeploy build train', or use it anyway with --allow-stale" in done.stderr
    assert done.stderr.count("\n") == 1
    allowed = project.run(*given, "--allow-stale")
    assert allowed.returncode != 2, allowed.stderr  # neither the cluster nor the image is one
    assert f"note: {CHANGES}; run 'hpcdeploy build train' to rebuild it\n" in allowed.stderr
    assert json.loads(project.run("runs", "--json").stdout) == [] or given[0] == "rerun"


@pytest.mark.parametrize("words", [("render", "fit"), ("submit", "fit", "--dry-run"), ("run", "fit", "--dry-run")])
def test_what_only_shows_notes_an_older_image(project: Project, words: tuple[str, ...]) -> None:
    if words[0] != "run":
        words = (*words, "--run-id", "one")
    before = project.run(*words)
    project.change()
    done = project.run(*words)
    if words[0] != "run":  # no engine may be here
        assert (before.returncode, done.returncode) == (0, 0), done.stderr
        assert before.stdout == done.stdout
    assert "older than" not in before.stderr
    assert f"note: {CHANGES}; run 'hpcdeploy build train' to rebuild it\n" in done.stderr


def test_inspect_says_what_changed_since_the_last_build(project: Project) -> None:
    said = project.run("inspect", "train").stdout
    assert ["since", "then", "no", "input", "changed"] in [line.split() for line in said.splitlines()]
    assert "nothing changed" in said
    project.change()
    said = project.run("inspect", "train").stdout
    assert (
        'images.train.pixi.environment ("default" before, "gpu" now); run \'hpcdeploy build train\' to rebuild the image'
        in said
    )
    assert "nothing changed" not in said
    assert "no package changed" in said
    found = json.loads(project.run("inspect", "train", "--json").stdout)
    assert found["stale"] == ['images.train.pixi.environment ("default" before, "gpu" now)']


def test_inspect_writes_nothing(project: Project) -> None:
    database = default_path(project.environment)
    (project.folder / "pixi.lock").write_text(LOCK)
    before = project.store.known_files(project.folder, "train")
    project.run("inspect", "train")
    assert Store(database).known_files(project.folder, "train") == before


def test_without_a_record_an_image_that_lies_elsewhere_is_noted(project: Project) -> None:
    project.store.built(project.folder, replace(BUILT, built_on="hpc", sha256="cd" * 32))
    done = project.run("render", "fit")
    assert done.returncode == 0
    assert "note: the record has no inputs for the image 'train'" in done.stderr
    assert "the record has no inputs" in project.run("inspect", "train").stdout + project.run("inspect", "train").stderr
