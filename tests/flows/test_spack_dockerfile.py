"""The Dockerfile of a Spack environment on disk: every setting has an effect, and what a build context lacks is refused."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import tomli

from hpcdeploy.architecture import Architecture
from hpcdeploy.config.files import load_project
from hpcdeploy.config.image_schema import IMAGE, SOURCES, SPACK
from hpcdeploy.definition.docker_text import DockerText
from hpcdeploy.definition.dockerfile.context import read_ignore
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import dockerfile_of, generate, write_dockerfile
from hpcdeploy.flows.sources.contract import no_registry
from hpcdeploy.flows.workflow import watched_paths
from hpcdeploy.image import FileCopy, ImageSettings, Step
from hpcdeploy.source import DockerfileSource, OciConfig, PixiSource, SpackSource
from tests.builds.test_spack_on_cluster import FILES, SETTINGS, SOURCE
from tests.builds.test_spack_source import CACHE, lock, write

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SPECS = "spack:\n  specs: [zlib]\n"
PROJECT = {
    "spack.yaml": CACHE,
    "other/spack.yaml": SPECS,
    "repo/repo.yaml": "repo: {namespace: own}\n",
    "repo/packages/zlib/package.py": "",
    "ray.py": "",
    "check.sh": "#!/bin/sh\n",
    "app/x": "",
}
CREDENTIALS = 'secrets = ["CACHE_USER", "CACHE_TOKEN"]'
EACH = {
    "platform": 'platform = "linux-aarch64"',
    "base": 'base = "example.org/spack:1"',
    "final-base": 'final-base = "example.org/plain:1"',
    "files": 'files = { app = "/opt/app" }',
    "setup": 'setup = ["true"]',
    "test": 'test = ["true"]',
    "command": 'command = ["true"]',
    "start": 'start = ["true"]',
    "environment": 'environment = { A = "b" }',
    "labels": 'labels = { a = "b" }',
    "build-args": 'build-args = { A = "b" }',
    "ports": "ports = [80]",
    "bind-points": 'bind-points = ["/host"]',
    "compression": 'compression = "gzip"',
    "secrets": 'secrets.KEY.env = "KEY"',
    "spack.environment": 'spack.environment = "other"',
    "spack.target": 'spack.target = "zen4"',
    "spack.repos": 'spack.repos = ["repo"]',
    "spack.recipes": 'spack.recipes = { py-ray = "ray.py" }',
    "spack.push-cache": 'spack.push-cache = "cache"',
    "spack.cc": 'spack.cc = "/usr/bin/cc"',
    "spack.cxx": 'spack.cxx = "/usr/bin/c++"',
    "spack.check": 'spack.check = "check.sh"',
    "spack.jobs": "spack.jobs = 4",
    "spack.user": 'spack.user = "me"',
    "spack.secrets": 'secrets.KEY.env = "KEY"\nspack.secrets = ["CACHE_USER", "CACHE_TOKEN", "KEY"]',
}
"""A setting for each key; its result must differ from that of no setting."""

OF_A_REGISTRY = {"repository", "tags"}
COMMON = 'secrets.CACHE_USER.env = "U"\nsecrets.CACHE_TOKEN.file = "token"\n'


def text_of(folder: Path, settings: str) -> DockerText:
    if "spack.secrets" not in settings:
        settings = f'spack.secrets = ["CACHE_USER", "CACHE_TOKEN"]\n{settings}'
    (folder / "hpcdeploy.toml").write_text(f"[image]\n{COMMON}{settings}\n")
    [image] = load_project(folder, {"HOME": str(folder)}).images.values()
    return dockerfile_of(image, folder)


def test_there_is_a_setting_for_every_key() -> None:
    keys = {key.name for key in IMAGE.keys} - OF_A_REGISTRY - set(SOURCES)
    assert set(EACH) == keys | {f"spack.{key.name}" for key in SPACK.keys}


@pytest.mark.parametrize("key", EACH)
def test_every_key_has_an_effect_on_the_dockerfile_or_is_said_to_have_none(tmp_path: Path, key: str) -> None:
    folder = write(tmp_path, PROJECT)
    plain, text = text_of(folder, ""), text_of(folder, EACH[key])
    assert tomli.loads(EACH[key])
    changed = text.dockerfile != plain.dockerfile
    notes = [note for note in text.notes if note not in plain.notes]
    assert changed == (key not in ("test", "start", "secrets", "compression"))
    assert changed or notes


def dockerfile(folder: Path, files: Mapping[str, str], *, name: str = "x", **words: object) -> DockerText:
    source = SpackSource(**words)  # type: ignore[arg-type]
    return dockerfile_of(ImageSettings(name=name, source=source), write(folder, files))


def test_every_file_that_the_definition_stages_is_copied_from_its_place_in_the_project(tmp_path: Path) -> None:
    files = {
        "envs/gpu/spack.yaml": "spack:\n  specs: [demo]\n  include: [own.yaml, ../configs]\n",
        "envs/gpu/own.yaml": "config: {}\n",
        "envs/configs/mirrors.yaml": "mirrors: {}\n",
        "envs/other.yaml": "",
        "py ray/package.py": "",
        "py ray/fix.patch": "",
    }
    text = dockerfile(tmp_path, files, environment="envs/gpu", recipes=(("py-ray", "py ray"),))
    assert [line for line in text.dockerfile.splitlines() if line.startswith("COPY ") and "--from" not in line] == [
        "COPY envs/gpu/spack.yaml /opt/spack-environment/spack.yaml",
        "COPY envs/gpu/own.yaml /opt/spack-environment/own.yaml",
        "COPY envs/configs /opt/configs",
        'COPY ["py ray", "/opt/hpcdeploy/recipes/0"]',
    ]
    ignore = read_ignore(text.ignore)
    assert {name for name in files if not ignore.ignores(name)} == set(files) - {"envs/other.yaml"}


def test_a_file_above_the_project_is_refused_since_the_context_lacks_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    write(tmp_path, {"common/packages.yaml": "packages: {}\n"})
    files = {"spack.yaml": "spack:\n  include: [../common/packages.yaml]\n"}
    source = SpackSource()
    assert generate(ImageSettings(name="x", source=source), write(tmp_path / "project", files)).files
    with pytest.raises(DefinitionError, match=r"common/packages\.yaml is outside .*, the build context of the Dockerfile"):
        dockerfile(tmp_path / "project", files)
    # The remedy: the settings in the folder above.
    text = dockerfile(tmp_path, {}, environment="project").dockerfile
    assert "COPY common/packages.yaml /opt/common/packages.yaml\n" in text


def test_a_link_is_replaced_by_its_target_which_docker_can_copy(tmp_path: Path) -> None:
    files = {"spack.yaml": "spack:\n  include: [site.yaml, conf]\n", "real/site.yaml": "config: {}\n", "real/c/a.yaml": ""}
    write(tmp_path, files)
    (tmp_path / "site.yaml").symlink_to("real/site.yaml")
    (tmp_path / "conf").symlink_to("real/c")
    (tmp_path / "real/c/b.yaml").symlink_to("a.yaml")  # it leads to a neighbour, so it is as good as a copy
    text = dockerfile(tmp_path, {})
    assert "COPY real/site.yaml /opt/spack-environment/site.yaml\n" in text.dockerfile
    assert "COPY real/c /opt/spack-environment/conf\n" in text.dockerfile
    assert not read_ignore(text.ignore).ignores("real/c/a.yaml")


@pytest.mark.parametrize("target", ["../outside", "ABSOLUTE"])
@pytest.mark.parametrize("kind", ["spack", "pixi"])
def test_a_link_out_of_a_copied_folder_is_refused(tmp_path: Path, target: str, kind: str) -> None:
    example = Path(__file__).parent.parent.parent / "examples/pixi-gpu"
    files = {"spack.yaml": SPECS, "app/in/x": "", "outside/y": "", "app/z": ""}
    write(tmp_path, files | {name: (example / name).read_text() for name in ("pixi.toml", "pixi.lock")})
    (tmp_path / "app/link").symlink_to(target.replace("ABSOLUTE", str(tmp_path / "app/in")))
    settings = ImageSettings(
        name="x",
        source=SpackSource() if kind == "spack" else PixiSource(environment="gpu"),
        base="b",
        files=(FileCopy(source="app", destination="/opt/app"),),
    )
    assert generate(settings, tmp_path).files
    with pytest.raises(DefinitionError, match=r"app/link is a link out of the folder .*/app; a Dockerfile would copy"):
        dockerfile_of(settings, tmp_path)


@pytest.mark.parametrize("kind", ["spack", "pixi"])
def test_a_named_folder_that_other_folders_leave_out_is_in_the_context(tmp_path: Path, kind: str) -> None:
    example = Path(__file__).parent.parent.parent / "examples/pixi-gpu"
    files = {"spack.yaml": SPECS, "app/.pixi/no": "", ".pixi/keep/x": "", ".pixi/other": "", ".hpcdeploy/a.csv": ""}
    write(tmp_path, files | {name: (example / name).read_text() for name in ("pixi.toml", "pixi.lock")})
    settings = ImageSettings(
        name="x",
        source=SpackSource() if kind == "spack" else PixiSource(environment="gpu"),
        base="b",
        files=tuple(
            FileCopy(source=one, destination=f"/opt/{number}")
            for number, one in enumerate((".pixi/keep", ".hpcdeploy/a.csv", "app"))
        ),
    )
    write(tmp_path, {"app/x": ""})
    ignore = read_ignore(dockerfile_of(settings, tmp_path).ignore)
    assert not any(map(ignore.ignores, (".pixi/keep/x", ".hpcdeploy/a.csv", "app/x")))
    assert ignore.ignores("app/.pixi/no")
    assert ignore.ignores(".pixi/other")


def test_build_arguments_of_the_command_are_those_of_the_dockerfile(tmp_path: Path) -> None:
    step = Step(run="echo '{{ COLOUR }}'")
    settings = ImageSettings(name="x", source=SpackSource(), build_args=(("COLOUR", "blue"),), setup=(step,))
    write(tmp_path, {"spack.yaml": SPECS})
    text = dockerfile_of(settings, tmp_path, build_args=[("COLOUR", "red"), ("COLOUR", "dark red")]).dockerfile
    assert 'ARG COLOUR="dark red"\n' in text
    assert "\"echo 'dark red'\"]" in text
    with pytest.raises(DefinitionError, match="the build argument 'COLOR' is unknown to the image 'x'; known are COLOUR"):
        dockerfile_of(settings, tmp_path, build_args=[("COLOR", "red")])


def test_an_environment_that_cannot_be_read_is_refused_as_for_a_definition(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=r"spack\.yaml is missing"):
        dockerfile(tmp_path, {})
    with pytest.raises(DefinitionError, match="'check' names 'none', which is not in"):
        dockerfile(tmp_path, {"spack.yaml": SPECS}, check="none")


def without_secrets() -> ImageSettings:
    """Return settings that need no secret: Apptainer cannot mount one for a RUN."""
    return replace(SETTINGS, source=replace(SOURCE, secrets=(), push_cache=""), secrets=())


def nothing_asked(reference: str, _architecture: Architecture) -> OciConfig:
    return no_registry(reference)


def test_what_was_written_can_be_translated_back_and_watched_by_a_workflow(tmp_path: Path) -> None:
    project = write(tmp_path, FILES)
    (project / "hpcdeploy.toml").write_text('[image]\ndockerfile = "Dockerfile"\n')
    write_dockerfile(dockerfile_of(without_secrets(), project), project / "Dockerfile", project)
    settings = ImageSettings(name="x", source=DockerfileSource())
    definition = generate(settings, project, image_config=lambda *_: OciConfig())
    assert sorted(file.source.relative_to(project).as_posix() for file in definition.files) == sorted(FILES)
    assert definition.notes == ("USER pdi has no effect: Apptainer runs a container as the user who starts it",)
    assert watched_paths(load_project(project, {}), "own.yaml", image_config=nothing_asked) == ("**", "own.yaml")


def hpcdeploy(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run([COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_several_images_are_written_and_an_image_without_an_environment_is_the_only_failure(tmp_path: Path) -> None:
    project = write(tmp_path, PROJECT | {"hand.def": "Bootstrap: docker\nFrom: x\n"})
    (project / "hpcdeploy.toml").write_text(
        '[images.a]\nspack = {}\n[images.b]\nspack = { environment = "other" }\n[images.hand]\ndefinition = "hand.def"\n'
    )
    done = hpcdeploy(project, "generate", "--all", "--format", "dockerfile", "-o", "docker")
    assert done.returncode == 66, done.stderr
    assert "is made from neither a Pixi workspace nor a Spack environment" in done.stdout + done.stderr
    assert sorted(path.name for path in (project / "docker").iterdir()) == [
        *("a.Dockerfile", "a.Dockerfile.dockerignore", "b.Dockerfile", "b.Dockerfile.dockerignore")
    ]
    assert "COPY other/spack.yaml /opt/" in (project / "docker/b.Dockerfile").read_text()


def test_it_is_printed_with_its_notes_on_the_side(tmp_path: Path) -> None:
    project = write(tmp_path, {"spack.yaml": SPECS, "hpcdeploy.toml": "[image]\nspack = {}\n"})
    done = hpcdeploy(project, "generate", "--format", "dockerfile")
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "# syntax=docker/dockerfile:1")
    assert "note: all packages are compiled for x86_64_v3" in done.stderr


PAGE = (Path(__file__).parent.parent.parent / "docs/spack.md").read_text()


def test_the_page_on_spack_shows_this_dockerfile(tmp_path: Path) -> None:
    settings, shown = (PAGE.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("toml", "dockerfile"))
    project = write(tmp_path, {"spack.yaml": CACHE.replace("cache:", "my-cache:"), "spack.lock": lock("zlib")})
    (project / "hpcdeploy.toml").write_text(settings)
    written = hpcdeploy(project, "generate", "--format", "dockerfile", "-o", "Dockerfile")
    assert written.returncode == 0, written.stderr
    rest = (project / "Dockerfile").read_text()
    for line in filter(None, map(str.strip, shown.splitlines())):
        for part in filter(None, line.split("...")):  # three points stand for what the page leaves out
            _, found, rest = rest.partition(part)
            assert found == part
    assert rest == "\n"
