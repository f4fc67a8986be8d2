"""Building with this machine's own Apptainer: on the lab's login node itself, where there is a real one."""

import hashlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.builds.local import copy_hpcdeploy
from tests.builds.searching import holding, needles, watching
from tests.shared import OWN

BUILD = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.secrets import read_secrets
work, registry = Path(sys.argv[1]), sys.argv[2]
project = load_project(work / "project")
[settings] = project.images.values()
definition = generate(settings, project.root)
secrets = read_secrets(settings, definition.secrets, project.root, os.environ)
steps, lines = [], []
try:
    builds = LocalBuilds(work=work / "builds", mirrors=(("ghcr.io", registry),))
    built = build_here(definition, work / "out" / "x.sif", builds, is_recorded=lambda image: True,
                       secrets=secrets, report=lambda event: (steps if event.is_step else lines).append(event.text))
    print(json.dumps({"built": asdict(built), "steps": steps, "lines": lines}))
except HpcdeployError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code, "steps": steps, "lines": lines}))
"""
Build = Callable[..., dict[str, object]]


@pytest.fixture
def place(lab: Lab) -> Iterator[Path]:
    """Give a folder of the lab's user with hpcdeploy, what it needs, and the example in it; its path on this machine."""
    folder = lab.seen(f"{lab.scratch}/{OWN}") / "here"
    copy_hpcdeploy(folder)
    inside(lab, ["chown", "-R", lab.user, f"{lab.scratch}/{OWN}/here"])
    yield folder
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{OWN}/here"])


@pytest.fixture
def build(lab: Lab, place: Path) -> Build:
    def run(**variables: str) -> dict[str, object]:
        work = f"{lab.scratch}/{OWN}/here"
        done: subprocess.CompletedProcess[bytes] = inside(
            lab,
            ["python3", "-c", BUILD, work, lab.registry],
            user=lab.user,
            environment={"PYTHONPATH": f"{work}/site", "PYTHONDONTWRITEBYTECODE": "1", **variables},
        )
        assert done.returncode == 0, done.stderr.decode()
        answer: dict[str, object] = json.loads(done.stdout.decode().splitlines()[-1])
        return answer

    return run


def test_an_image_is_built_tested_recorded_and_not_built_again(lab: Lab, place: Path, build: Build) -> None:
    first = build()
    assert "running %test" in first["steps"], first  # type: ignore[operator]
    built = first["built"]
    assert isinstance(built, dict)
    digest = inside(lab, ["sha256sum", str(built["path"])], user=lab.user).stdout.decode().split()[0]
    assert digest == built["sha256"]
    record = json.loads((place / "out" / "x.json").read_text())
    assert (record["sha256"], record["inputs"], record["apptainer"]) == (digest, built["inputs"], built["apptainer"])
    said = inside(lab, ["apptainer", "exec", str(built["path"]), "hpcdeploy-demo"], user=lab.user)
    assert said.returncode == 0, said.stderr
    again = build()
    assert again["built"] == built
    assert "running %test" not in again["steps"]  # type: ignore[operator]


def test_a_build_with_a_secret_leaves_no_byte_of_it_and_no_pipe(lab: Lab, place: Path, build: Build) -> None:
    since, token = time.time(), secrets.token_hex(16)
    digest = hashlib.sha256(token.encode()).hexdigest()
    run = f'printf %s "$TOKEN" | sha256sum | grep {digest}; sleep 1.0625; echo "said: $TOKEN"'
    settings = place / "project" / "hpcdeploy.toml"
    image, rest = settings.read_text().split("[image]\n", 1)
    asking = 'secrets = { TOKEN = { env = "MARKED" } }\n' + f"setup = [{{ run = {json.dumps(run)}, secrets = ['TOKEN'] }}]\n"
    settings.write_text(f"{image}[image]\n{asking}{rest}")
    wanted = needles(token.encode())
    with watching(wanted) as seen:
        answer = build(MARKED=token)
    assert "built" in answer, answer
    assert "said: ***" in answer["lines"]  # type: ignore[operator]
    assert not any(needle.decode() in json.dumps(answer) for needle in wanted)
    unpack = ["apptainer", "build", "--sandbox", f"{lab.scratch}/{OWN}/here/unpacked", str(answer["built"]["path"])]  # type: ignore[index]
    assert inside(lab, unpack, user=lab.user).returncode == 0
    assert (place / "unpacked/run/secrets").is_dir()
    assert holding([place, lab.state / "home", lab.state / "tmp", lab.logs], wanted, since) == []
    assert [path for path in place.rglob("*") if path.is_fifo()] == []
    assert any("sleep 1.0625" in words for words in seen.environments)
    # hpcdeploy itself was started with the variable; of what it starts, the step alone has it.
    own = {words for words in seen.environments if words.split()[0] not in ("sleep", "sha256sum", "grep")}
    assert own
    assert all("build_here(" in words for words in own), own


def test_an_image_in_which_no_program_begins_is_no_build(place: Path, build: Build) -> None:
    settings = place / "project" / "hpcdeploy.toml"
    ends = json.dumps(['echo "exit 0" >>"$APPTAINER_ENVIRONMENT"'])
    settings.write_text(settings.read_text().replace("[image]\n", f"[image]\nsetup = {ends}\n", 1))
    answer = build()
    assert answer["code"] == 67, answer
    assert "no program starts in this image" in str(answer["error"])
    assert not list((place / "out").glob("*.sif"))


def test_a_failing_test_fails_the_build_and_leaves_no_image(place: Path, build: Build) -> None:
    settings = place / "project" / "hpcdeploy.toml"
    settings.write_text(settings.read_text().replace("test = [", 'test = ["false", '))
    answer = build()
    assert answer["code"] == 67, answer
    assert not (place / "out" / "x.sif").exists()
    assert list((place / "out").glob(".*")) == []
