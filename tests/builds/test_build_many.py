"""Several images in one call, built on the lab's login node, with one in the middle that fails."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.builds.spack_recorder import put_recorder
from tests.builds.test_spack_on_cluster import FILES
from tests.builds.test_spack_source import write
from tests.shared import OWN

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
DEFINITION = "Bootstrap: docker\nFrom: {registry}/prefix-dev/pixi:noble\n\n%post\n    {post}\n"


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    for name, post in (("one", "echo one"), ("two", "echo it cannot be; false"), ("three", "echo three")):
        (tmp_path / f"{name}.def").write_text(DEFINITION.format(registry=lab.registry, post=post))
    images = "".join(f"[images.{name}]\ndefinition = '{name}.def'\n" for name in ("one", "two", "three"))
    (tmp_path / "hpcdeploy.toml").write_text(images)
    (tmp_path / ".config/hpcdeploy").mkdir(parents=True)
    (tmp_path / ".config/hpcdeploy/config.toml").write_text(
        f"[clusters.here]\nhost = '{lab.host}'\nssh-config = '{lab.ssh_config}'\nscheduler = 'slurm'\n"
        f"root = '$SCRATCH/{OWN}/many'\n"
    )
    yield tmp_path
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{OWN}/many"])


def hpcdeploy(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(project)}
    return subprocess.run([COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_all_are_built_but_the_one_that_fails_and_its_code_is_the_commands(project: Path) -> None:
    done = hpcdeploy(project, "build", "--all", "--jobs", "2", "--on", "here", "-o", "images")
    assert done.returncode == 67, done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head == ["IMAGE", "RESULT", "SIZE", "SHA256"]
    assert [row[:2] for row in rows] == [["one", "built"], ["two", "failed"], ["three", "built"]]
    assert sorted(path.name for path in (project / "images").iterdir()) == ["one.json", "one.sif", "three.json", "three.sif"]
    said = [line for line in done.stderr.splitlines() if line]
    assert {line.partition(" | ")[0] for line in said} == {"one", "two", "three"}
    assert any(line.startswith("two | ") and "it cannot be" in line for line in said)

    again = hpcdeploy(project, "build", "one", "three", "--on", "here", "--json")
    assert again.returncode == 0, again.stderr
    results = json.loads(again.stdout)
    assert [(one["image"], one["exit_code"], one["result"]["built_on"]) for one in results] == [
        ("one", 0, "here"),
        ("three", 0, "here"),
    ]
    assert [one["result"]["sha256"] for one in results] == [rows[0][-1], rows[2][-1]]


def test_definitions_of_several_images_go_into_a_folder_and_one_that_fails_stops_no_other(project: Path) -> None:
    done = hpcdeploy(project, "generate", "three", "one", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [["three", "written"], ["one", "written"]]
    assert sorted(path.name for path in (project / "out").iterdir()) == ["one.def", "three.def"]
    (project / "two.def").unlink()
    failed = hpcdeploy(project, "generate", "--all", "-o", "others")
    assert failed.returncode == 66, failed.stderr
    assert sorted(path.name for path in (project / "others").iterdir()) == ["one.def", "three.def"]


def test_an_image_that_was_there_is_shown_as_unchanged_and_not_as_built(project: Path) -> None:
    words = ("build", "one", "three", "--on", "here")
    first, again = (hpcdeploy(project, *words, *more) for more in (("--force",), ()))
    for done, result in ((first, "built on here"), (again, "unchanged on here")):
        assert done.returncode == 0, done.stderr
        assert [re.split(r" {2,}", line)[1] for line in done.stdout.splitlines()[1:]] == [result, result]
    forced = hpcdeploy(project, *words, "--force", "--json")
    assert [one["result"]["unchanged"] for one in json.loads(forced.stdout)] == [False, False]
    assert [one["result"]["unchanged"] for one in json.loads(hpcdeploy(project, *words, "--json").stdout)] == [True, True]


SPACK = """
[images.spack]
spack = {{ environment = "env", repos = ["repo"], cc = "/opt/tools/cc", check = "check.sh", user = "pdi" }}
files = {{ tools = "/opt/tools" }}
setup = ["demo > /opt/said-in-setup"]
base = "{base}"
final-base = "{final}"
[images.written]
dockerfile = "Dockerfile"
"""


def test_a_spack_environment_and_its_written_dockerfile_become_the_same_image(lab: Lab, project: Path) -> None:
    write(project, FILES)
    for name in ("cc", "cxx"):
        (project / "tools" / name).chmod(0o755)
    base = put_recorder(lab).replace("ghcr.io", lab.registry)
    (project / "hpcdeploy.toml").write_text(SPACK.format(base=base, final=reference(lab)))
    written = hpcdeploy(project, "generate", "spack", "--format", "dockerfile", "-o", "Dockerfile")
    assert written.returncode == 0, written.stderr
    done = hpcdeploy(project, "build", "--all", "--on", "here", "--json")
    assert done.returncode == 0, done.stderr
    paths = [one["result"]["path"] for one in json.loads(done.stdout)]
    show = (
        'demo; echo "$SPACK_ENV|$CC|$MANPATH"; readlink /opt/view; cat /opt/said-in-setup; '
        "cat /opt/spack-environment/recorded-calls; ls /opt; getent passwd pdi"
    )
    texts = []
    for path in paths:
        ran = inside(lab, ["apptainer", "--quiet", "run", path, "sh", "-c", show], user=lab.user)
        assert ran.returncode == 0, ran.stderr.decode()
        assert ran.stderr.decode() == "checked with /opt/view/bin/demo\n"
        # Only the definition's build keeps Spack's downloads, because a Dockerfile does not know this folder.
        texts.append(re.sub(r" -c config:source_cache:/tmp/hpcdeploy-\S+", "", ran.stdout.decode()))
    assert texts[0].startswith("demo 1.0 in ")
    assert texts[0] == texts[1]
