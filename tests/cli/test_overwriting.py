"""No verb overwrites a file that hpcdeploy did not write, unless ``--force`` is given."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_dockerfile import project as pixi_project

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
project = pixi_project

WRITERS = {
    "generate": (("generate", "-o", "{}"), "pixi.toml"),
    "dockerfile": (("generate", "--format", "dockerfile", "-o", "{}"), "Own.Dockerfile"),
    "workflow": (("workflow", "--install", "hpcdeploy==1.0", "-o", "{}"), "images.yaml"),
    "picture": (("inspect", ".", "--environment", "default", "--picture", "{}"), "report.html"),
    "drawing": (("inspect", ".", "--environment", "default", "--picture", "{}"), "report.svg"),
    "template": (("templates", "copy", "{}"), "defs/pixi.def"),
    "init": (("init",), "hpcdeploy.toml"),
}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_of_the_user_is_kept_without_force(project: Path, what: str) -> None:
    words, name = WRITERS[what]
    argv = tuple(word.format(name) for word in words)
    own = project / name
    own.parent.mkdir(exist_ok=True)
    before = own.read_text() if own.exists() else "mine\n"
    own.write_text(before)
    kept = run(project, *argv)
    assert kept.returncode == 2, kept.stderr
    assert "--force" in kept.stderr
    assert own.read_text() == before
    if what == "generate":
        return  # the manifest is what the definition is made from
    assert run(project, *argv, "--force").returncode == 0
    assert own.read_text() != before
    if what not in ("template", "init"):
        again = run(project, *argv)
        assert again.returncode == 0, again.stderr


def test_an_own_definition_is_written_again_unless_its_copy_was_edited(project: Path) -> None:
    """The text of the user's own definition has no mark, so what hpcdeploy wrote is known from its record."""
    (project / "hpcdeploy.toml").write_text(
        "".join(f'[images.{name}]\ndefinition = "{name}.def"\n' for name in ("own", "other"))
    )
    own, copy = project / "own.def", project / "copy.def"
    texts = [f"Bootstrap: docker\nFrom: docker.io/library/debian:{release}\n" for release in (11, 12, 13)]
    for text in texts[:2]:
        own.write_text(text)
        done = run(project, "generate", "own", "-o", "copy.def")
        assert done.returncode == 0, done.stderr
        assert copy.read_text() == text
    copy.write_text(texts[2])
    refused = run(project, "generate", "own", "-o", "copy.def")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert copy.read_text() == texts[2]
    assert run(project, "generate", "own", "-o", "copy.def", "--force").returncode == 0
    # The source itself is not recorded as a file that hpcdeploy wrote, although it was given as the output.
    (project / "other.def").write_text(texts[2])
    assert run(project, "generate", "own", "-o", "own.def").returncode == 0
    assert run(project, "generate", "other", "-o", "own.def").returncode == 2
    assert own.read_text() == texts[1]
