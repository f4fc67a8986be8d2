"""Which image a job gets: the last one built, wherever this cluster can have it from."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.images import delivery_of
from hpcdeploy.image import BuiltImage, ImageSettings, PublishedImage
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.source import PixiSource
from hpcdeploy.store import Store

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
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.sqlite")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path, images={"train": ImageSettings(name="train", source=PixiSource())})


def deliver(project: Project, store: Store) -> Delivery:
    def nobody(reference: str) -> PublishedImage:
        raise AssertionError(f"nobody should ask for {reference}")

    return delivery_of("train", project, Cluster(name="hpc"), store, nobody, lambda _: False)


@pytest.mark.parametrize("where", [{"built_on": "hpc"}, {"cached_on": "hpc", "path": "/images/train.sif"}])
def test_an_image_that_was_built_on_the_cluster_is_taken_from_its_cache(
    project: Project, store: Store, where: dict[str, str]
) -> None:
    store.built(project.root, replace(BUILT, **where))  # type: ignore[arg-type]
    assert deliver(project, store) == Delivery(sha256="a" * 64, size=7)


@pytest.mark.parametrize("where", [{"built_on": "other"}, {"cached_on": "other"}, {"path": "/images/train.sif"}])
def test_an_image_that_lies_elsewhere_is_refused_with_what_to_do(
    project: Project, store: Store, where: dict[str, str]
) -> None:
    store.built(project.root, replace(BUILT, **where))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="never pushed, so hpc cannot have it; run 'hpcdeploy push' first"):
        deliver(project, store)


def test_an_image_that_was_pushed_is_pulled_by_its_digest(project: Project, store: Store) -> None:
    store.built(project.root, replace(BUILT, built_on="other"))
    store.published(PUSHED, when=1)
    assert deliver(project, store).reference == f"oras://ghcr.io/me/train@sha256:{'c' * 64}"
