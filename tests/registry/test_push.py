"""Pushing to several repositories, and several images, with real registries: one that refuses stops no other."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import AuthenticationError, ConfigError, RegistryError
from hpcdeploy.flows.push import Pushed, Refused, destinations, push, refuse_same_tags
from hpcdeploy.image import BuiltImage, ImageSettings
from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.source import PixiSource
from hpcdeploy.store import Store, default_path
from hpcdeploy.tags import GitFacts
from tests.disks import small_disk
from tests.registry.daemons import serve
from tests.registry.images import CREATED, make_image, registry

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
GIT = GitFacts(sha="0123456789abcdef0123456789abcdef01234567", branch="main", default_branch="main")


def settings(name: str, *repositories: str) -> ImageSettings:
    return ImageSettings(name=name, source=PixiSource(), repositories=repositories)


def built(folder: Path, name: str, seed: int = 7) -> BuiltImage:
    made = make_image(folder, size=200_000, name=f"{name}.sif", seed=seed)
    return BuiltImage(
        name=name, sha256=made.sha256, size=200_000, inputs="", apptainer="", created=CREATED, path=str(made.path)
    )


def publish(
    folder: Path,
    one: ImageSettings,
    images: Sequence[ImageSettings] = (),
    *,
    git: GitFacts | None = GIT,
    tags: Sequence[str] = (),
    seed: int = 7,
) -> list[Pushed | Refused]:
    store = Store(folder / "runs.db")
    image = built(folder, one.name, seed)
    to = destinations(one, git, tags=tags, images=images)
    return push(image, to, store, registry_of, git=git, warn=pytest.fail)


def test_a_registry_whose_disk_is_full_takes_nothing_and_says_so_once(registry_program: Path, tmp_path: Path) -> None:
    image = built(tmp_path, "train")
    with (
        small_disk(tmp_path / "disk", "100k") as resize,
        serve(registry_program, tmp_path / "registry", storage=tmp_path / "disk" / "storage") as host,
    ):
        store, place = Store(tmp_path / "runs.db"), settings("train", f"{host}/lab/train")

        def pushed() -> list[Pushed | Refused]:
            return push(image, destinations(place, GIT), store, lambda _: registry(host), git=GIT, warn=pytest.fail)

        [refused] = pushed()
        assert isinstance(refused, Refused)
        assert isinstance(refused.error, RegistryError)
        assert "answered with status 500" in str(refused.error)
        assert store.publications(image.sha256) == []
        with pytest.raises(RegistryError):
            registry(host, asked=":latest").resolve()
        resize("16m")
        [done] = pushed()
        assert isinstance(done, Pushed)
        assert registry(host, asked=":latest").resolve() == done.image


def test_a_repository_that_refuses_stops_no_other(open_host: str, basic_host: str, tmp_path: Path) -> None:
    image = settings("train", f"{open_host}/one/train", f"{basic_host}/two/train", f"{open_host}/three/train")
    first, second, third = publish(tmp_path, image)
    assert isinstance(second, Refused)
    assert isinstance(second.error, AuthenticationError)
    assert second.repository == f"{basic_host}/two/train"
    for done, path in ((first, "one/train"), (third, "three/train")):
        assert isinstance(done, Pushed)
        assert done.tags == ("sha-0123456", "latest")
        assert registry(open_host, path).tags() == ("latest", "sha-0123456")
    noted = Store(tmp_path / "runs.db").publications(built(tmp_path, "train").sha256)
    assert {one.repository for one in noted} == {f"{open_host}/one/train", f"{open_host}/three/train"}


def test_images_that_share_a_repository_keep_their_tags_apart(open_host: str, tmp_path: Path) -> None:
    shared, own = f"{open_host}/shared/all", f"{open_host}/shared/gpu"
    images = [settings("gpu", shared, own), settings("cpu", shared), settings("other", f"{open_host}/shared/other")]
    gpu = publish(tmp_path, images[0], images, seed=3)
    cpu = publish(tmp_path, images[1], images, seed=5)
    assert [one.tags for one in (*gpu, *cpu) if isinstance(one, Pushed)] == [
        ("gpu-sha-0123456", "gpu"),
        ("sha-0123456", "latest"),
        ("cpu-sha-0123456", "cpu"),
    ]
    assert registry(open_host, "shared/all").tags() == ("cpu", "cpu-sha-0123456", "gpu", "gpu-sha-0123456")
    there = {name: registry(open_host, "shared/all", asked=f":{name}").resolve().sha256 for name in ("gpu", "cpu")}
    assert there == {"gpu": built(tmp_path, "gpu", 3).sha256, "cpu": built(tmp_path, "cpu", 5).sha256}


def test_tags_that_would_be_two_images_at_once_are_refused_before_anything_is_sent(open_host: str, tmp_path: Path) -> None:
    shared = f"{open_host}/shared/clash"
    images = [settings("gpu", shared), settings("gpu-final", shared)]
    git = GitFacts(sha=GIT.sha, tag="final", branch="main", default_branch="main")
    with pytest.raises(ConfigError, match="both would get the tag 'gpu-final'; give each image its own"):
        publish(tmp_path, images[0], images, git=git)


def test_a_tag_that_a_person_gives_is_the_tag(open_host: str, tmp_path: Path) -> None:
    shared = f"{open_host}/shared/given"
    images = [settings("gpu", shared), settings("cpu", shared)]
    [done] = publish(tmp_path, images[0], images, git=None, tags=("paper",))
    assert isinstance(done, Pushed)
    assert done.tags == ("paper",)
    with pytest.raises(ConfigError, match="the tag paper would only refer to the image that is pushed last"):
        refuse_same_tags(images, ("paper",))
    refuse_same_tags(images, ())
    refuse_same_tags([images[0], settings("cpu", f"{open_host}/shared/own")], ("paper",))


@pytest.mark.parametrize(
    ("git", "expected"),
    [
        (GIT, ("sha-0123456", "latest", "noble-cuda-12.9")),
        (None, ("latest", "noble-cuda-12.9")),
        (replace(GIT, branch="topic"), ("sha-0123456",)),
        (replace(GIT, dirty=True), ("sha-0123456-dirty",)),
    ],
)
def test_an_images_own_tags_stand_beside_latest(
    open_host: str, tmp_path: Path, git: GitFacts | None, expected: tuple[str, ...]
) -> None:
    image = replace(settings("gpu", f"{open_host}/own/tags"), tags=("noble-cuda-12.9",))
    [done] = publish(tmp_path, image, git=git)
    assert isinstance(done, Pushed)
    assert done.tags == expected


@pytest.fixture
def project(tmp_path: Path, open_host: str, basic_host: str) -> Path:
    (tmp_path / "hpcdeploy.toml").write_text(
        f"""
        [images.gpu]
        repository = ["{basic_host}/many/gpu", "{open_host}/many/gpu"]
        [images.cpu]
        repository = "{open_host}/many/cpu"
        [images.unbuilt]
        repository = "{open_host}/many/unbuilt"
        """
    )
    store = Store(default_path({"HOME": str(tmp_path)}))
    for number, name in enumerate(("gpu", "cpu")):
        store.built(tmp_path, built(tmp_path, name, number + 11))
    return tmp_path


def hpcdeploy(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(project)}
    return subprocess.run([COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_all_images_are_pushed_and_the_first_failure_is_the_exit_code(project: Path, open_host: str, jobs: str) -> None:
    done = hpcdeploy(project, "push", "--all", "--jobs", jobs)
    assert done.returncode == 77, done.stderr
    head, *rows = done.stdout.splitlines()
    assert re.split(r"  +", head) == ["IMAGE", "RESULT", "SIZE", "REFERENCE"]
    assert [row.split()[:2] for row in rows] == [
        ["gpu", "failed"],
        ["gpu", "pushed"],
        ["cpu", "pushed"],
        ["unbuilt", "failed"],
    ]
    assert f"oras://{open_host}/many/gpu@sha256:" in rows[1]
    assert rows[1].endswith("(latest)")
    assert "was not built yet" in rows[3]
    assert "unbuilt | error: the image 'unbuilt' was not built yet; run 'hpcdeploy build' first\n" in done.stderr
    assert "gpu | error: 1 of 2 repositories rejected the image" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_list_tells_programs_the_same(project: Path, open_host: str) -> None:
    done = hpcdeploy(project, "push", "cpu", "unbuilt", "--json")
    assert done.returncode == 2
    cpu, unbuilt = json.loads(done.stdout)
    assert (cpu["image"], cpu["exit_code"], cpu["error"]) == ("cpu", 0, "")
    assert cpu["result"][0]["repository"] == f"{open_host}/many/cpu"
    assert (unbuilt["image"], unbuilt["exit_code"], unbuilt["result"]) == ("unbuilt", 2, None)
    assert "was not built yet" in unbuilt["error"]


def test_one_image_that_no_repository_takes_is_one_message(project: Path, basic_host: str) -> None:
    done = hpcdeploy(project, "push", "gpu", "--repository", f"{basic_host}/many/gpu")
    assert done.returncode == 77
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("push",), "there are gpu, cpu, unbuilt: use their names, or --all"),
        (("push", "gpu", "--all"), "expected names, or --all"),
        (("push", "gpu", "cup"), "did you mean cpu?"),
        (("push", "--all", "--repository", "example.org/x"), "--repository needs one image"),
        (("generate", "--all"), "use -o FOLDER"),
        (("build", "--all", "--dry-run"), "--dry-run prints one definition"),
    ],
)
def test_what_is_not_meant_for_several_images_is_said(project: Path, words: tuple[str, ...], said: str) -> None:
    done = hpcdeploy(project, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
