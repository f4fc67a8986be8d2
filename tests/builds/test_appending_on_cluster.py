"""On a login node, code is appended to an image of the environment, with the same bytes as on another machine."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.local import Builder, builder
from tests.sessions import session


@pytest.fixture(scope="module")
def here(lab: Lab) -> Iterator[Builder]:
    with builder(lab, "same-as-on") as one:
        one.write("app/state", "fine\n")
        settings = (one.folder / "project/hpcdeploy.toml").read_text()
        one.write("hpcdeploy.toml", settings.replace("test = [", 'test = ["grep -q fine /app/src/state", '))
        yield one


NO_PYTHON = """folder=$SCRATCH/no-python; mkdir -p "$folder"
for program in /usr/bin/*; do case $program in */python*) ;; *) ln -sf "$program" "$folder/" ;; esac; done
export PATH=$folder"""


def definition_of(project: Path) -> Definition:
    """Return the definition of a copy of the project that belongs to this user."""
    loaded = load_project(Path(shutil.copytree(project, tempfile.mkdtemp(dir=project.parent), dirs_exist_ok=True)))
    [settings] = loaded.images.values()
    return with_keys(generate(settings, loaded.root), (), machine="x86_64")


class Remote:
    """Builds of one project on the cluster."""

    def __init__(self, place: Cluster, transport: Transport) -> None:
        self.place = place
        self.transport = transport
        self.steps: list[str] = []

    def build(self, definition: Definition) -> BuiltImage:
        self.steps.clear()
        return build_on(
            definition,
            session(self.place, self.transport),
            report=lambda event: self.steps.append(event.text) if event.is_step else None,
        )

    def run(self, line: str) -> str:
        done = self.transport.run(["bash", "-c", line])
        assert done.exit_code == 0, done.stderr
        return done.stdout.decode()


@pytest.fixture
def remote(place: Cluster, transport: Transport) -> Remote:
    return Remote(place, transport)


def test_code_is_appended_on_a_login_node_with_the_same_bytes_as_here(here: Builder, remote: Remote) -> None:
    project = here.folder / "project"
    first = remote.build(definition_of(project))
    assert "building the environment without the code" in remote.steps
    assert {"appending the code", "running %test"} <= set(remote.steps)
    assert here.built()[0] == first.sha256
    here.write("app/more.py", "print('more')\n")
    second = remote.build(definition_of(project))
    assert remote.steps[1:] == ["building", "appending the code", "running %test"]
    assert remote.steps[0].startswith("uploading the code to ")
    assert remote.run(f"apptainer exec {second.path} python3 /app/src/more.py") == "more\n"
    assert remote.run(f"apptainer exec {second.path} stat -c %a /") == "755\n"
    assert remote.run(f"apptainer exec {second.path} ls -L /.hpcdeploy.d/app/pixi.toml") == "/.hpcdeploy.d/app/pixi.toml\n"
    assert here.built()[0] == second.sha256
    (project / "app/more.py").unlink()
    assert remote.build(definition_of(project)).sha256 == first.sha256
    assert remote.steps == ["unchanged: an image of these inputs exists (--force builds it again)"]


def test_a_failing_test_of_appended_code_leaves_no_image(here: Builder, remote: Remote, place: Cluster) -> None:
    project = here.folder / "project"
    here.write("app/state", "broken\n")
    definition = definition_of(project)
    with pytest.raises(BuildError, match="failed"):
        remote.build(definition)
    left = remote.run(
        f"ls -A {place.root}/builds/{definition.inputs}; ls -A {place.root}/images {place.root}/cache | grep part; true"
    )
    assert "part" not in left
    here.write("app/state", "fine\n")


def test_a_damaged_environment_is_built_again(here: Builder, remote: Remote, place: Cluster) -> None:
    here.write("app/again.py", "print('again')\n")
    definition = definition_of(here.folder / "project")
    image = f"{place.root}/environments/{definition.environment}.sif"
    remote.run(f"printf x | dd of={image} bs=1 seek=100000 conv=notrunc 2>/dev/null")
    built = remote.build(definition)
    assert "building the environment without the code" in remote.steps
    assert here.built()[0] == built.sha256


def test_a_login_node_without_python_copies_the_code_in_the_build_and_says_why(
    here: Builder, remote: Remote, place: Cluster
) -> None:
    here.write("app/last.py", "print('last')\n")
    remote.place = replace(place, setup=(NO_PYTHON,))
    built = remote.build(definition_of(here.folder / "project"))
    assert any("the code is copied while the image is built: the login node has no python3" in step for step in remote.steps)
    assert remote.run(f"apptainer exec {built.path} readlink -f /app/src/last.py") == "/app/src/last.py\n"
    assert remote.run(f"apptainer exec {built.path} ls -A /app/src").split() == sorted(
        path.name for path in (here.folder / "project/app").iterdir()
    )
