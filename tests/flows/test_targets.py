"""What is meant by a word after ``run``, and where its image lies; downloads are from the lab's real registry."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import ConfigError, HpcdeployError, RegistryError
from hpcdeploy.flows.targets import Located, choose_target, fetch, locate
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.registry.lookup import registry_of, resolve, uses_plain_http
from hpcdeploy.source import DefinitionSource, OciSource
from hpcdeploy.store import Store
from hpcdeploy_lab.state import Lab
from tests.registry.images import CREATED, make_image

BUILT = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="")
TRAIN = ImageSettings(name="train", source=DefinitionSource(file="train.def"))
PYTHON = ImageSettings(name="python", source=OciSource(reference="docker.io/library/python:3.12"))
SAID = JobSettings(command=("true",), environment=(("A", "1"),))
NOTHING = JobSettings()
Locate = Callable[..., Located]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    job = JobSettings(image="train", command=("python", "train.py"))
    return Project(root=tmp_path, images={"train": TRAIN, "python": PYTHON}, jobs={"fit": job, "train": job})


@pytest.fixture
def find(project: Project, store: Store, tmp_path: Path) -> Locate:
    def call(image: str, *, of: Project = project, for_docker: bool = False) -> Located:
        return locate(
            image,
            of,
            store,
            cache=tmp_path / "cache",
            resolve=resolve,
            plain_http=uses_plain_http,
            for_docker=for_docker,
        )

    return call


@pytest.mark.parametrize(
    ("target", "options", "image", "command", "of_project"),
    [
        ("fit", NOTHING, "train", ("python", "train.py"), True),
        ("fit", SAID, "train", ("true",), True),
        ("train", NOTHING, "train", ("python", "train.py"), True),
        ("python", SAID, "python", ("true",), False),
        (None, replace(NOTHING, image="train"), "train", (), False),
        ("fit", replace(NOTHING, image="python"), "python", ("python", "train.py"), True),
        ("sub/x.sif", NOTHING, "/here/sub/x.sif", (), False),
        ("/else/x.sif", NOTHING, "/else/x.sif", (), False),
        ("oras://h.example/me/x:1", NOTHING, "oras://h.example/me/x:1", (), False),
        ("docker://python", NOTHING, "docker://python", (), False),
    ],
)
def test_a_word_means_a_job_then_an_image_then_a_file_or_an_address(
    project: Project, target: str | None, options: JobSettings, image: str, command: tuple[str, ...], of_project: bool
) -> None:
    wanted = choose_target(project, target, options, Path("/here"))
    assert (wanted.job.image, wanted.job.command, wanted.of_project) == (image, command, of_project)
    assert wanted.job.environment == options.environment


def test_nothing_named_is_the_only_job_else_the_only_image(project: Project) -> None:
    one_job = replace(project, jobs={"fit": project.jobs["fit"]})
    assert choose_target(one_job, None, NOTHING, Path("/")).job.name == "fit"
    one_image = replace(project, images={"train": TRAIN})
    assert choose_target(one_image, None, NOTHING, Path("/")).job.name == "train"
    with pytest.raises(ConfigError, match="use one of fit, train, train, python"):
        choose_target(project, None, NOTHING, Path("/"))
    with pytest.raises(ConfigError, match="no project with jobs or images is here"):
        choose_target(Project(root=Path("/")), None, NOTHING, Path("/"))


def test_a_word_that_means_nothing_is_refused_with_the_nearest_one(project: Project) -> None:
    with pytest.raises(ConfigError, match="did you mean python"):
        choose_target(project, "pyhton", NOTHING, Path("/"))


def test_an_image_of_the_project_is_its_latest_build(project: Project, store: Store, find: Locate, tmp_path: Path) -> None:
    file = tmp_path / "train.sif"
    store.built(project.root, replace(BUILT, path=str(file)))
    with pytest.raises(ConfigError, match="run 'hpcdeploy build train' again"):
        find("train")
    file.touch()
    assert find("train") == Located(image=str(file))


@pytest.mark.parametrize(
    ("built", "error", "said"),
    [
        (None, ConfigError, "was not built yet; run 'hpcdeploy build train'"),
        (replace(BUILT, built_on="hpc"), ConfigError, "hpcdeploy build train --on hpc --fetch"),
    ],
)
def test_an_image_that_is_not_here_is_told_how_to_come_here(
    project: Project, store: Store, find: Locate, built: BuiltImage | None, error: type[HpcdeployError], said: str
) -> None:
    if built:
        store.built(project.root, built)
    with pytest.raises(error, match=said):
        find("train")


def test_an_image_of_a_registry_needs_no_build_and_docker_takes_no_other(
    project: Project, store: Store, find: Locate, tmp_path: Path
) -> None:
    direct = Located(image="docker://docker.io/library/python:3.12")
    assert find("python") == direct
    file = tmp_path / "python.sif"
    file.touch()
    store.built(project.root, replace(BUILT, name="python", path=str(file)))
    assert find("python") == Located(image=str(file))
    assert find("python", for_docker=True) == direct
    assert find("docker://localhost:5000/x") == Located(image="docker://localhost:5000/x", plain_http=True)


def downloads(lab: Lab, sha256: str) -> int:
    lines = (lab.logs / "registry.log").read_text(errors="replace").splitlines()
    return sum(f"GET /v2/tests/here/blobs/sha256:{sha256}" in line for line in lines)


def test_an_image_in_a_registry_is_downloaded_once_and_whole(lab: Lab, find: Locate, tmp_path: Path) -> None:
    made = make_image(tmp_path, seed=11)
    repository = f"{lab.registry}/tests/here"
    registry_of(repository).push(made.path, sha256=made.sha256, created=CREATED, tags=("one", "two", "latest"))
    before = downloads(lab, made.sha256)
    asked: list[str] = []

    def download(published: PublishedImage, path: Path) -> None:
        asked.append(published.sha256)
        registry_of(published.reference).download(published, path)

    place = tmp_path / "cache" / f"{made.sha256}.sif"
    for tag in ("one", "two", "one"):
        located = find(f"oras://{repository}:{tag}")
        fetch(located, download)
        assert located.image == str(place)
        assert hashlib.sha256(place.read_bytes()).hexdigest() == made.sha256
    assert asked == [made.sha256]
    assert downloads(lab, made.sha256) - before == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{made.sha256}.sif"]


def test_an_image_that_was_never_built_here_is_what_its_repository_calls_latest(
    lab: Lab, project: Project, find: Locate, tmp_path: Path
) -> None:
    pushed = replace(TRAIN, repositories=(f"{lab.registry}/tests/here-{secrets.token_hex(4)}",))
    of = replace(project, images={"train": pushed})
    with pytest.raises(RegistryError, match="or run 'hpcdeploy build train'"):
        find("train", of=of)
    made = make_image(tmp_path, seed=13)
    registry_of(pushed.repositories[0]).push(made.path, sha256=made.sha256, created=CREATED, tags=("latest",))
    assert find("train", of=of).image.endswith(f"{made.sha256}.sif")
