"""Paths on the command line are relative to the current folder, and ``~`` is the home folder, wherever it stands."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.cli.paths import image, source_of
from tests.cli.test_command import Project
from tests.cli.test_inspect import NEW

CLI = Path(__file__).parent.parent.parent / "hpcdeploy" / "cli"
COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[image]
definition = "my.def"
[jobs.train]
command = ["true"]
[clusters.hpc]
host = "hpc.example.org"
scheduler = "slurm"
root = "~/runs"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hpcdeploy.toml").write_text(SETTINGS)
    (tmp_path / "my.def").write_text("Bootstrap: docker\nFrom: debian\n")
    for name in ("home", "below"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(project: Path, *words: str, folder: str = "below") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(project / "home")}
    return subprocess.run(
        [COMMAND, *words], cwd=project / folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_option_that_is_a_path_expands_the_home_folder() -> None:
    """An option or argument of the type `Path` has a parser of `hpcdeploy.cli.paths`."""
    found, wrong = 0, []
    for file in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Annotated"):
                continue
            kind, *more = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
            if "Path" not in ast.unparse(kind).split(" | "):
                continue
            found += 1
            if not any("parser=path" in ast.unparse(one) or "parser=existing_folder" in ast.unparse(one) for one in more):
                wrong.append(f"{file.name}: {ast.unparse(node)}")
    assert found >= 6
    assert wrong == []


@pytest.mark.parametrize("words", [("-o", "x.def"), ("--output=~/x.def",), ("-o~/x.def",)])
def test_an_output_is_written_where_the_option_points(project: Path, words: tuple[str, ...]) -> None:
    done = run(project, "generate", *words)
    assert done.returncode == 0, done.stderr
    place = project / ("below" if words == ("-o", "x.def") else "home") / "x.def"
    assert place.read_text() == (project / "my.def").read_text()
    assert not (project / "below" / "~").exists()


def test_an_unknown_home_folder_is_one_message(project: Path) -> None:
    done = run(project, "generate", "--output=~nobody-has-this-name/x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "use a path without '~'" in done.stderr


@pytest.mark.parametrize("words", [("inspect", "~/pixi.lock"), ("inspect", ".", "--against=~/pixi.lock")])
def test_inspect_expands_the_home_folder(project: Path, words: tuple[str, ...]) -> None:
    for folder in ("home", "below"):
        (project / folder / "pixi.lock").write_text(NEW)
    done = run(project, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("option", "place"),
    [
        (("--image", "x.sif"), "below/x.sif"),
        (("--code", "nowhere"), "below/nowhere"),
        (("--input", "nowhere"), "below/nowhere"),
        (("--input=~/nowhere:x",), "home/nowhere"),
        (("--sweep-file=~/x.csv",), "home/x.csv"),
    ],
)
def test_a_jobs_files_are_relative_to_the_current_folder(tmp_path: Path, option: tuple[str, ...], place: str) -> None:
    project = Project(tmp_path)
    (tmp_path / "below").mkdir()
    done = subprocess.run(
        [COMMAND, "render", "train", *option],
        cwd=tmp_path / "below",
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / place) in done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [("train", "train"), ("oras://x/y.sif", "oras://x/y.sif"), ("x.sif", "{cwd}/x.sif"), ("~/x.sif", "{home}/x.sif")],
)
def test_only_a_sif_is_a_path(words: str, meant: str) -> None:
    assert image(words) == meant.format(cwd=Path.cwd(), home=Path.home())


@pytest.mark.parametrize(
    ("words", "meant"),
    [("a", "{cwd}/a"), ("~/a:/b:ro", "{home}/a:/b:ro"), ("$X/a:/b", "$X/a:/b"), ("/a", "/a"), (":b", ":b")],
)
def test_the_source_of_a_bind_or_an_input_is_a_path(words: str, meant: str) -> None:
    assert source_of(words) == meant.format(cwd=Path.cwd(), home=Path.home())
