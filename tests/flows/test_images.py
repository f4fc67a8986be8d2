"""Which image a job gets: the last one built, wherever this cluster can have it from."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, ImageRoute
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError, RegistryError
from hpcdeploy.flows.images import RegistryLookup, delivery_of
from hpcdeploy.flows.targets import locate
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.source import PixiSource
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of
from tests.apptainer import sifs

BUILT = BuiltImage(
    name="train",
    sha256="a" * 64,
    size=7,
    inputs="b" * 64,
    apptainer="apptainer version 1.4.5",
    created="2026-01-01T00:00:00Z",
)
PUSHED = PublishedImage(repository="ghcr.io/me/train", manifest="c" * 64, sha256="a" * 64, size=7)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path, images={"train": ImageSettings(name="train", source=PixiSource())})


def deliver(project: Project, store: Store, image: str = "train", *, route: ImageRoute = "auto") -> Delivery:
    def nobody(reference: str) -> PublishedImage:
        raise AssertionError(f"nobody should ask for {reference}")

    return delivery_of(
        image,
        project,
        Cluster(name="hpc", image_route=route),
        store,
        RegistryLookup(resolve=nobody, plain_http=lambda _: False),
    )


@pytest.mark.parametrize("where", [{"built_on": "hpc"}, {"cached_on": "hpc", "path": "/images/train.sif"}])
def test_an_image_that_was_built_on_the_cluster_is_taken_from_its_cache(
    project: Project, store: Store, where: dict[str, str]
) -> None:
    store.built(project.root, replace(BUILT, **where))  # type: ignore[arg-type]
    assert deliver(project, store) == Delivery(sha256="a" * 64, size=7)


@pytest.mark.parametrize(
    ("where", "why", "advice"),
    [
        ({"built_on": "other", "path": "/images/train.sif"}, " and is stored only on other,", "'hpcdeploy push' first"),
        ({"cached_on": "other"}, "", "'hpcdeploy build' again"),
        ({"path": "/images/train.sif"}, " and /images/train.sif was removed,", "'hpcdeploy build' again"),
    ],
)
def test_an_image_that_lies_elsewhere_is_refused_with_what_to_do(
    project: Project, store: Store, where: dict[str, str], why: str, advice: str
) -> None:
    store.built(project.root, replace(BUILT, **where))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"never pushed,{why} so hpc cannot get it; run {advice}, or build"):
        deliver(project, store)


@pytest.mark.parametrize("other", [{}, {"sha256": "e" * 64, "size": 8}])
def test_an_image_that_was_built_on_one_cluster_after_the_other_is_there_on_both(
    project: Project, store: Store, other: dict[str, object]
) -> None:
    first = replace(BUILT, built_on="hpc", path="/scratch/hpc.sif")
    store.built(project.root, first)
    store.built(project.root, replace(BUILT, built_on="other", path="/scratch/other.sif", **other))  # type: ignore[arg-type]
    assert deliver(project, store) == Delivery(sha256=first.sha256, size=first.size)
    latest = delivery_of(
        "train", project, Cluster(name="other"), store, RegistryLookup(resolve=lambda _: PUSHED, plain_http=lambda _: False)
    )
    assert (latest.sha256, latest.size) == (other.get("sha256", BUILT.sha256), other.get("size", BUILT.size))


def test_an_older_image_of_a_cluster_is_not_taken_for_a_later_one_of_other_inputs(project: Project, store: Store) -> None:
    store.built(project.root, replace(BUILT, built_on="hpc"))
    store.built(project.root, replace(BUILT, built_on="other", inputs="f" * 64, sha256="e" * 64))
    with pytest.raises(ConfigError, match=" and is stored only on other,"):
        deliver(project, store)


def test_an_image_of_several_clusters_that_lies_here_too_is_the_latest(
    project: Project, store: Store, tmp_path: Path
) -> None:
    store.built(project.root, replace(BUILT, built_on="hpc"))
    path = sif(tmp_path / "train.sif")
    store.built(project.root, replace(BUILT, cached_on="other", sha256="e" * 64, path=str(path)))
    assert deliver(project, store).sha256 == "e" * 64


def sif(path: Path) -> Path:
    path.write_bytes(sifs.sif(sifs.partition(sifs.squashfs())))
    return path


def test_an_image_that_was_built_here_and_never_pushed_is_brought(project: Project, store: Store, tmp_path: Path) -> None:
    path = sif(tmp_path / "train.sif")
    store.built(project.root, replace(BUILT, path=str(path)))
    assert deliver(project, store) == Delivery(
        sha256="a" * 64,
        size=7,
        upload=StagedFile(
            sha256="a" * 64,
            size=7,
            path=f"$SCRATCH/hpcdeploy/images/{'a' * 64}.sif",
            what="the image train",
            source=str(path),
        ),
    )


def test_a_file_is_brought_under_its_sha256(project: Project, store: Store, tmp_path: Path) -> None:
    path = sif(tmp_path / "own.sif")
    delivery = deliver(project, store, str(path))
    assert delivery.upload is not None
    assert delivery.upload.what == "the image own.sif"
    assert delivery.upload.path == f"$SCRATCH/hpcdeploy/images/{sha256_of(path)}.sif"
    assert (delivery.upload.size, delivery.upload.source) == (path.stat().st_size, str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file or directory; expected a readable .sif"), (b"text", "no SIF header")],
)
def test_a_file_that_is_no_image_is_refused(
    project: Project, store: Store, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "own.sif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        deliver(project, store, str(path))


@pytest.mark.parametrize("part", [0.999, 0.5, 0.01])
def test_a_copy_of_an_image_that_was_cut_off_is_refused(part: float, project: Project, store: Store, tmp_path: Path) -> None:
    path = sif(tmp_path / "own.sif")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ConfigError, match=r"own.sif is damaged: .*; build it again, or fetch it again"):
        deliver(project, store, str(path))


def test_a_pipe_is_no_image_and_nobody_waits_for_it(project: Project, store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.sif")
    with pytest.raises(ConfigError, match=r"own.sif is not a regular file; expected a .sif"):
        deliver(project, store, str(tmp_path / "own.sif"))


def test_an_image_that_was_pushed_is_pulled_by_its_digest(project: Project, store: Store) -> None:
    store.built(project.root, replace(BUILT, built_on="other"))
    store.published(PUSHED, when=1)
    assert deliver(project, store).reference == f"oras://ghcr.io/me/train@sha256:{'c' * 64}"


@pytest.mark.parametrize(
    ("route", "pulls", "brings", "in_job"),
    [
        ("auto", True, True, False),
        ("login", True, False, False),
        ("stream", False, True, False),
        ("job", True, False, True),
    ],
)
def test_the_clusters_route_says_how_an_image_of_a_registry_gets_there(
    project: Project, store: Store, route: ImageRoute, pulls: bool, brings: bool, in_job: bool
) -> None:
    store.built(project.root, BUILT)
    store.published(PUSHED, when=1)
    delivery = deliver(project, store, route=route)
    assert (bool(delivery.reference), bool(delivery.upload), delivery.in_job) == (pulls, brings, in_job)
    if pulls:
        assert (delivery.host, delivery.port) == ("ghcr.io", 443)
    if delivery.upload:
        assert delivery.upload.source == PUSHED.reference
        assert delivery.upload.what == "the image train"


@pytest.mark.parametrize(
    ("repository", "plain_http", "place"),
    [
        ("docker.io/me/train", False, ("registry-1.docker.io", 443)),
        ("localhost:5000/train", True, ("localhost", 5000)),
        ("[::1]:5000/train", True, ("::1", 5000)),
        ("localhost/train", True, ("localhost", 80)),
    ],
)
def test_where_a_registry_answers_is_told(
    project: Project, store: Store, repository: str, plain_http: bool, place: tuple[str, int]
) -> None:
    store.built(project.root, BUILT)
    store.published(replace(PUSHED, repository=repository), when=1)
    delivery = delivery_of(
        "train",
        project,
        Cluster(name="hpc"),
        store,
        RegistryLookup(resolve=lambda _: PUSHED, plain_http=lambda _: plain_http),
    )
    assert (delivery.host, delivery.port) == place


@pytest.mark.parametrize(("shared", "tag"), [(True, "train-arm64"), (False, "latest")])
def test_an_image_that_was_not_built_here_is_found_by_the_tag_that_push_gives_it(
    project: Project, store: Store, tmp_path: Path, shared: bool, tag: str
) -> None:
    repository = "ghcr.io/me/train"
    other = "ghcr.io/me/train" if shared else "ghcr.io/me/other"
    images = {
        name: ImageSettings(name=name, source=PixiSource(), repositories=(one,))
        for name, one in (("train", other), ("train-arm64", repository))
    }
    both, asked = replace(project, images=images), []

    def resolve(reference: str) -> PublishedImage:
        asked.append(reference)
        return PUSHED

    lookup = RegistryLookup(resolve=resolve, plain_http=lambda _: False)
    delivery_of("train-arm64", both, Cluster(name="hpc"), store, lookup)

    def plain_http(_: str) -> bool:
        return False

    def failing(reference: str) -> PublishedImage:
        asked.append(reference)
        raise RegistryError("none")

    with pytest.raises(RegistryError, match="was not built here"):
        locate("train-arm64", both, store, cache=tmp_path, resolve=failing, plain_http=plain_http)
    assert asked == [f"oras://{repository}:{tag}"] * 2
