"""Dockerfiles of a project on disk: what is read, what is staged, and what is written."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.definition.dockerfile.context import read_ignore
from hpcdeploy.errors import DefinitionError, EnvironmentFileError, RegistryError
from hpcdeploy.flows.generate import dockerfile_of, generate, write_dockerfile
from hpcdeploy.flows.sources.dockerfile import read_context
from hpcdeploy.image import FileCopy, ImageSettings
from hpcdeploy.source import DockerfileSource, OciConfig, PixiSource

EXAMPLE = Path(__file__).parent.parent.parent / "examples/pixi-gpu"
PIXI = ImageSettings(
    name="train",
    source=PixiSource(environment="gpu"),
    base="ghcr.io/prefix-dev/pixi:noble",
    files=(FileCopy(source="app", destination="/app/src"),),
)


def project(folder: Path, dockerfile: str, **source: str) -> ImageSettings:
    (folder / "Dockerfile").write_text(f"FROM base\n{dockerfile}")
    return ImageSettings(name="x", source=DockerfileSource(**source))


def known(reference: str) -> OciConfig:
    return OciConfig(env=(("PATH", "/bin"),))


def test_files_are_staged_by_stage_and_copy(tmp_path: Path) -> None:
    settings = project(tmp_path, "COPY a.txt /x\nCOPY d /y/\n")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run me").write_text("b")
    (tmp_path / "d" / "run me").chmod(0o755)
    definition = generate(settings, tmp_path, image_config=known)
    assert [(file.staged, file.mode) for file in definition.files] == [
        ("stages/0/put/0/000/a.txt", 0o644),
        ("stages/0/put/1/000/d/run me", 0o755),
    ]
    assert "\n    stages/0/put /.hpcdeploy/\n" in definition.text


def test_a_change_of_a_copied_file_changes_the_inputs(tmp_path: Path) -> None:
    settings = project(tmp_path, "COPY a.txt /x\n")
    (tmp_path / "a.txt").write_text("a")
    first = generate(settings, tmp_path, image_config=known)
    (tmp_path / "a.txt").write_text("b")
    assert generate(settings, tmp_path, image_config=known).inputs != first.inputs


def test_the_ignore_file_of_the_dockerfile_wins_over_the_context_s(tmp_path: Path) -> None:
    settings = project(tmp_path, "COPY . /x\n")
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("*\n!one\n")
    assert [file.source.name for file in generate(settings, tmp_path, image_config=known).files] == ["one"]
    (tmp_path / "Dockerfile.dockerignore").write_text("*\n!two\n")
    assert [file.source.name for file in generate(settings, tmp_path, image_config=known).files] == ["two"]


def test_what_an_exclamation_mark_takes_back_comes_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/keep").write_text("")
    (tmp_path / "a/b/drop").write_text("")
    context = read_context(tmp_path, read_ignore("a\n!a/b/keep\n"))
    assert sorted(context.entries) == ["a", "a/b", "a/b/keep"]


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "packed", "w:gz") as archive:
        archive.add(__file__, "x")
    (tmp_path / "not.tar.gz").write_text("text")
    (tmp_path / "new.zst").write_bytes(b"\x28\xb5\x2f\xfdrest")
    context = read_context(tmp_path, read_ignore(""))
    assert context.is_archive("packed")
    assert not context.is_archive("not.tar.gz")
    with pytest.raises(DefinitionError, match="compressed with zstd"):
        context.is_archive("new.zst")


def test_a_context_and_a_dockerfile_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/x").write_text("")
    (tmp_path / "docker/own").write_text("FROM base AS a\nCOPY x /x\nFROM base\n")
    settings = ImageSettings(name="x", source=DockerfileSource(file="docker/own", context="src", target="a"))
    definition = generate(settings, tmp_path, image_config=known)
    assert [file.source for file in definition.files] == [tmp_path / "src/x"]


def test_arguments_come_from_the_settings_and_from_the_call(tmp_path: Path) -> None:
    settings = replace(project(tmp_path, "ARG A=1\nARG B\nLABEL l=$A$B\n"), build_args=(("A", "2"),))
    assert "printf '%s\\n' 'l 2'" in generate(settings, tmp_path, image_config=known).text
    text = generate(settings, tmp_path, image_config=known, build_args=[("B", "3")]).text
    assert "printf '%s\\n' 'l 23'" in text
    assert "    A=2\n    B=3\n" in text
    with pytest.raises(DefinitionError, match="the build argument 'C' is not declared by an ARG"):
        generate(settings, tmp_path, image_config=known, build_args=[("C", "3")])


def test_a_refusal_names_the_file_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"^Dockerfile: line 3: ONBUILD applies to images"):
        generate(project(tmp_path, "RUN true\nONBUILD RUN true\n"), tmp_path, image_config=known)


def test_stages_that_depend_on_each_other_too_deeply_are_refused(tmp_path: Path) -> None:
    chain = "".join(f"FROM base AS s{number}\nCOPY --from=s{number - 1} /a /a\n" for number in range(1, 1000))
    settings = project(tmp_path, "")
    (tmp_path / "Dockerfile").write_text(f"FROM base AS s0\n{chain}")
    with pytest.raises(DefinitionError, match=r"^Dockerfile: its stages depend on each other too deeply"):
        generate(settings, tmp_path, image_config=known)
    (tmp_path / "Dockerfile").write_text("FROM base AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(1000)))
    assert generate(settings, tmp_path, image_config=known).text.count("\nFrom: ") == 1


def test_a_registry_s_refusal_names_the_file_and_the_line_too(tmp_path: Path) -> None:
    settings = project(tmp_path, "COPY --from=assets /a /b\n")

    def asked(reference: str) -> OciConfig:
        if reference == "assets":
            raise RegistryError("docker.io has none.")
        return known(reference)

    with pytest.raises(
        RegistryError, match=r"^Dockerfile: line 2: COPY copies from assets: docker\.io has none; 'assets' is not"
    ):
        generate(settings, tmp_path, image_config=asked)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    settings = project(tmp_path, "RUN true\n")
    with pytest.raises(RegistryError, match="the configuration of base is not known"):
        generate(settings, tmp_path)
    with pytest.raises(DefinitionError, match="is not a folder; correct 'context'"):
        generate(replace(settings, source=DockerfileSource(context="none")), tmp_path, image_config=known)
    with pytest.raises(EnvironmentFileError):
        generate(replace(settings, source=DockerfileSource(file="none")), tmp_path, image_config=known)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in ("pixi.toml", "pixi.lock"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    (tmp_path / "app").mkdir()
    (tmp_path / "app/x.py").write_text("")
    return tmp_path


def test_a_dockerfile_of_the_settings_is_written_with_what_it_leaves_out(workspace: Path) -> None:
    text = dockerfile_of(PIXI, workspace, build_args=[("CUDA_VERSION", "13.1")])
    assert 'ARG CUDA_VERSION="13.1"\n' in text.dockerfile
    written = write_dockerfile(text, workspace / "Dockerfile", workspace)
    assert written == (workspace / "Dockerfile", workspace / ".dockerignore")
    assert written[1].read_text() == text.ignore
    assert write_dockerfile(text, workspace / "Dockerfile", workspace) == written
    assert not list(workspace.glob("*.part*"))


def test_an_ignore_file_that_somebody_wrote_is_left_alone(workspace: Path) -> None:
    (workspace / ".dockerignore").write_text("mine\n")
    text = dockerfile_of(PIXI, workspace)
    _, ignore = write_dockerfile(text, workspace / "Dockerfile", workspace)
    assert ignore == workspace / "Dockerfile.dockerignore"
    assert (workspace / ".dockerignore").read_text() == "mine\n"


def test_another_name_has_an_ignore_file_of_its_own(workspace: Path) -> None:
    _, ignore = write_dockerfile(dockerfile_of(PIXI, workspace), workspace / "train.Dockerfile", workspace)
    assert ignore == workspace / "train.Dockerfile.dockerignore"


def test_only_a_pixi_image_has_a_dockerfile(workspace: Path) -> None:
    with pytest.raises(DefinitionError, match="use the format 'definition'"):
        dockerfile_of(replace(PIXI, source=DockerfileSource()), workspace)


def test_what_was_written_can_be_translated_back(workspace: Path) -> None:
    write_dockerfile(dockerfile_of(PIXI, workspace), workspace / "Dockerfile", workspace)
    definition = generate(replace(PIXI, source=DockerfileSource(), files=()), workspace, image_config=known)
    assert sorted({file.source.relative_to(workspace).as_posix() for file in definition.files}) == [
        "app/x.py",
        "pixi.lock",
        "pixi.toml",
    ]
