"""When code can be appended, and when it must be copied in the build."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from hpcdeploy.definition.code import MARK, code_of, environment_files, reads_code, why_baked
from hpcdeploy.image import CodePlace, ContextFile, Definition, FileCopy, ImageSettings, Step
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, SpackSource

FILES = (
    ContextFile(source=Path("/p/pixi.toml"), staged="workspace/pixi.toml", mode=0o644, sha256="a" * 64),
    ContextFile(source=Path("/p/app/train.py"), staged="files/0/src/train.py", mode=0o644, sha256="b" * 64),
    ContextFile(source=Path("/p/app/pkg/deep.py"), staged="files/0/src/pkg/deep.py", mode=0o644, sha256="c" * 64),
    ContextFile(source=Path("/p/conf.toml"), staged="files/1/conf.toml", mode=0o644, sha256="d" * 64),
)
SETTINGS = ImageSettings(
    name="x",
    source=PixiSource(),
    files=(FileCopy(source="app", destination="/app/src"), FileCopy(source="conf.toml", destination="/etc/conf.toml")),
)
PLACES = (PurePosixPath("/app/src"),)
NAMES = {"app", "src", "train.py", "train", "pkg", "deep.py", "deep"}


@pytest.mark.parametrize(
    "line",
    [
        "pip install /app/src",
        "cd /app && pip install ./src",
        "python -m train",
        "python -c 'import pkg.deep'",
        "D=/app; cat $D/*",
        "find / -name '*.so'",
        "find . -type f",
        "ls",
        "cat /ap*/s*c/x",
        "cat /*/x",
        "cp *.py /opt",
        "cd ..; pwd",
        "python -m compileall -q /app/.pixi",
        "python -m compileall",
        "tar -c / | wc",
        "chmod -R a+rX /",
        "pytest",
    ],
)
def test_a_line_that_may_read_the_code_is_found(line: str) -> None:
    assert reads_code(line, PLACES, NAMES)


@pytest.mark.parametrize(
    "line",
    [
        "apt-get update && apt-get install -y git make",
        "rm -rf /var/lib/apt/lists/*",
        "mkdir -p /data /scratch",
        "echo 'export A=1' >> /etc/profile.d/a.sh",
        'if [ -f /etc/x ]; then echo "${HOME}"; fi',
        "python3 -c 'import numpy; print(numpy.__version__)'",
        "find /usr/lib -empty -delete",
        "chmod -R a+rX /opt/tool",
        "pip install --no-cache-dir torch==2.4",
    ],
)
def test_a_line_that_cannot_read_the_code_is_none(line: str) -> None:
    assert not reads_code(line, PLACES, NAMES)


def test_an_image_without_steps_is_appended(tmp_path: Path) -> None:
    assert why_baked(SETTINGS, FILES, tmp_path) == ""
    steps = (Step(run="# cat /app/src/train.py\napt-get install -y git"),)
    assert why_baked(replace(SETTINGS, setup=steps), FILES, tmp_path) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"setup": (Step(run="true\npython -m train"),)}, "the line 'python -m train' of 'setup' may read the code"),
        ({"files": (FileCopy(source="app", destination="/app"),)}, "/app has other files of the image"),
        ({"files": (FileCopy(source="app", destination="/run/x"),)}, "/run/x is in a folder that a container replaces"),
        (
            {"files": (FileCopy(source="app", destination="/a"), FileCopy(source="b", destination="/a/b"))},
            "/a/b is inside another destination",
        ),
        (
            {"source": SpackSource(), "files": (FileCopy(source="app", destination="/opt"),)},
            "/opt has other files of the image",
        ),
    ],
)
def test_the_reason_to_copy_the_code_is_named(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    assert why_baked(replace(SETTINGS, **change), FILES, tmp_path).startswith(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["defs/pixi.def", "defs/parts/setup.def"])
def test_a_template_of_the_project_may_read_the_code(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("")
    assert f"own template {name} may read the code" in why_baked(SETTINGS, FILES, tmp_path)


@pytest.mark.parametrize("name", ["defs/spack.def", "defs/parts/mine.def"])
def test_another_template_of_the_project_is_not_used(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("")
    assert not why_baked(SETTINGS, FILES, tmp_path)


def test_a_definition_and_a_dockerfile_have_no_code_of_their_own() -> None:
    for source in (DefinitionSource(file="x.def"), DockerfileSource()):
        assert code_of(replace(SETTINGS, source=source)) == ()
    assert len(code_of(replace(SETTINGS, source=OciSource(reference="a/b:c")))) == 2


def test_the_environment_has_marks_instead_of_code() -> None:
    places = (
        CodePlace(staged="files/0/src", destination="/app/src"),
        CodePlace(staged="files/1/conf.toml", destination="/etc/conf.toml"),
    )
    definition = Definition(name="x", text="", files=FILES, build_args=(), inputs="", code=places)
    without = environment_files(definition, Path("/mark"))
    assert [file.staged for file in without] == ["workspace/pixi.toml", f"files/0/src/{MARK}", "files/1/conf.toml"]
    assert without[0] == FILES[0]
    assert {file.source for file in without[1:]} == {Path("/mark")}
