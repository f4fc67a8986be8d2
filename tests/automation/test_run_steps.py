"""The workflow's own shell, run as GitHub runs it: the build with the lab's Apptainer, the push into the lab's registry."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.store import Store, default_path
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.automation.test_workflow_paths import COMMAND, EXAMPLE, git
from tests.builds.local import LIBRARIES, PARTS, ROOT
from tests.conftest import PIP
from tests.shared import OWN

OF_THE_COMMAND = ("typer", "click", "shellingham", "typing_extensions.py")
FOLDER = f"{OWN}/automation"
PROJECT = "cuda-exercise"
SECRET = "a marker that only the build may see"
SETTINGS = """
[images.train]
repository = "{registry}/tests/automation"
pixi = {{ environment = "gpu" }}
base = "{registry}/prefix-dev/pixi:noble"
setup = [{{ run = 'test "$(cat /run/secrets/TOKEN)" = "{secret}"', secrets = ["TOKEN"] }}]
secrets = {{ TOKEN = {{ file = "~/.token" }} }}
test = ["hpcdeploy-demo"]

[images.other]
repository = "{registry}/tests/automation"
"""


@dataclass(frozen=True)
class Runner:
    """A folder that this machine and the lab both see, with a repository in it, and a Python of its own for the push."""

    lab: Lab
    folder: Path
    python: Path

    @property
    def project(self) -> Path:
        return self.folder / "repository" / PROJECT

    @property
    def there(self) -> str:
        return f"{self.lab.scratch}/{FOLDER}"

    def workflow(self) -> dict[str, Any]:
        words = [COMMAND, "workflow", "--install", str(ROOT), "-o", "../.github/workflows/images.yaml"]
        done = self.here(shlex.join(words), {})
        assert done.returncode == 0, done.stderr
        return dict(yaml.safe_load((self.folder / "repository" / ".github" / "workflows" / "images.yaml").read_text()))

    def build(self, script: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
        """Run a step in the lab, where Apptainer is."""
        place = f"{self.there}/repository/{PROJECT}"
        return inside(
            self.lab,
            ["bash", "-c", 'cd "$0" && exec bash -e -c "$1"', place, script],
            user=self.lab.user,
            environment={
                **environment,
                "PATH": f"{self.there}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": f"{self.there}/site",
                "PYTHONDONTWRITEBYTECODE": "1",
                "XDG_STATE_HOME": f"{self.there}/state",
                "XDG_CACHE_HOME": f"{self.there}/cache",
            },
        )

    def here(self, script: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run a step on this machine, with what the workflow installed."""
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.project,
            env={
                **environment,
                "PATH": f"{self.python.parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                # The files are the lab's user's, as those of a checkout are another's where a job runs in a container.
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "HPCDEPLOY_SAFE_DIRECTORY": str(self.folder / "repository" / "*"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def take_over(self, name: str) -> None:
        """Note on this machine what was built in the lab: one folder, which has another name there."""
        built = Store(self.folder / "state" / "hpcdeploy" / "runs.db").latest_build(
            Path(f"{self.there}/repository/{PROJECT}"), name
        )
        assert built is not None
        file = self.folder / Path(built.path).relative_to(self.there)
        Store(default_path({"HOME": str(self.folder)})).built(self.project, replace(built, path=str(file)))


@pytest.fixture
def runner(lab: Lab, tmp_path: Path) -> Iterator[Runner]:
    folder = lab.seen(f"{lab.scratch}/{FOLDER}")
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{FOLDER}"])
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "site" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for library in (*LIBRARIES, *OF_THE_COMMAND):
        source = Path(sysconfig.get_paths()["purelib"]) / library
        if source.is_dir():
            # Compiled parts belong to this machine's Python, not to the lab's; all of these do without.
            shutil.copytree(source, folder / "site" / library, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        elif source.is_file():
            shutil.copy(source, folder / "site" / library)
    # These have compiled parts, so they are installed for the lab's Python.
    version = inside(lab, ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).stdout.decode().strip()
    options = ("--only-binary=:all:", "--python-version", version, "--target", str(folder / "site"))
    subprocess.run([*PIP, "install", *options, "oras>=0.2.43,<0.3"], check=True, stdin=subprocess.DEVNULL)
    command = folder / "bin" / "hpcdeploy"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nexec python3 -m hpcdeploy.cli.main "$@"\n')
    command.chmod(0o755)
    repository = folder / "repository"
    shutil.copytree(EXAMPLE, repository / PROJECT, ignore=shutil.ignore_patterns("*.sif", "*.json"))
    settings = SETTINGS.format(registry=lab.registry, secret=SECRET)
    (repository / PROJECT / "hpcdeploy.toml").write_text(settings)
    git(repository, "init", "-b", "trunk")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "First")
    venv.create(tmp_path / "python", with_pip=True)
    inside(lab, ["chown", "-R", lab.user, f"{lab.scratch}/{FOLDER}"])
    yield Runner(lab, folder, tmp_path / "python" / "bin" / "python")
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{FOLDER}"])


def step(job: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in job["steps"] if one["name"] == name)
    return found


def variables(one: Mapping[str, Any], leg: Mapping[str, Any]) -> dict[str, str]:
    """Put in what GitHub would: the leg of the matrix, the one secret, the repository's default branch."""
    known = {f"matrix.{key}": str(value) for key, value in leg.items()}
    known["github.event.repository.default_branch"] = "trunk"
    for text in one["env"].values():
        inner = text.removeprefix("${{ ").removesuffix(" }}")
        condition = re.fullmatch(r"contains\(fromJSON\('(\[.*\])'\), matrix\.image\) && secrets\.TOKEN \|\| ''", inner)
        if condition:
            known[inner] = SECRET if leg["image"] in yaml.safe_load(condition[1]) else ""
    return {name: known[text.removeprefix("${{ ").removesuffix(" }}")] for name, text in one["env"].items()}


def test_the_steps_build_test_and_publish_with_the_tags_of_push(runner: Runner) -> None:
    jobs = runner.workflow()["jobs"]
    [leg] = [leg for leg in jobs["publish"]["strategy"]["matrix"]["include"] if leg["image"] == "train"]
    install, build, publish = (step(jobs["publish"], name) for name in ("Install hpcdeploy", "Build and test", "Publish"))

    checked = step(jobs["test"], "Check the definition")
    said = runner.build(checked["run"], variables(checked, leg))
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(b"#") or b"Bootstrap: docker" in said.stdout

    done = runner.build(build["run"], variables(build, leg))
    assert done.returncode == 0, done.stderr.decode()
    assert b"running %test" in done.stderr
    assert SECRET.encode() not in done.stdout + done.stderr

    installed = runner.here(install["run"], {})
    assert installed.returncode == 0, installed.stderr
    runner.take_over("train")
    sha = git_as_owner(runner, "rev-parse", "HEAD")[:7]
    pushed = runner.here(publish["run"], variables(publish, leg))
    assert pushed.returncode == 0, pushed.stderr
    assert f"train-sha-{sha}, train\n" in pushed.stderr

    git_as_owner(runner, "tag", "v1.2.3")
    git_as_owner(runner, "checkout", "-q", "v1.2.3")
    released = runner.here(publish["run"], variables(publish, leg))
    assert released.returncode == 0, released.stderr
    assert f"train-1.2.3, train-1.2, train-sha-{sha}, train\n" in released.stderr
    tags = set(registry_of(f"{runner.lab.registry}/tests/automation").tags())
    assert {"train", f"train-sha-{sha}", "train-1.2", "train-1.2.3"} <= tags
    # The manifests say which version they are, and so differ; the image is one.
    images = {registry_of(text.stdout.strip()).resolve().sha256 for text in (pushed, released)}
    assert len(images) == 1


def git_as_owner(runner: Runner, *words: str) -> str:
    return git(runner.folder / "repository", "-c", "safe.directory=*", *words).strip()
