"""The lab as a place to build: its cluster, a transport to it, and the example workspace."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, Definition, FileCopy, ImageSettings, Step
from hpcdeploy.source import PixiSource
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab import base_image
from hpcdeploy_lab.state import Lab
from tests.sessions import session
from tests.shared import OWN

EXAMPLE = Path(__file__).parent.parent.parent / "examples/pixi-gpu"

SETTINGS = ImageSettings(
    name="example",
    source=PixiSource(environment="gpu"),
    files=(FileCopy(source="app", destination="/app/src"),),
    setup=(Step(run="hpcdeploy-demo > /app/said-in-setup"),),
    test=("hpcdeploy-demo",),
    command=("printf", "<%s>", "no words", "", "it's $HOME"),
    environment=(("AWKWARD", 'it\'s "$HOME" \\ `id`\n%end {{ X }} ✓'),),
    labels=(("org.opencontainers.image.title", "the example"),),
)


@pytest.fixture(scope="session")
def cluster(lab: Lab) -> Cluster:
    """The lab as a cluster, with a folder for the images that several files of tests use."""
    return Cluster(
        name="lab",
        host=lab.host,
        ssh_config=str(lab.ssh_config),
        root=f"$SCRATCH/{OWN}/builds",
        mirrors=(("ghcr.io", lab.registry), ("docker.io/library", f"{lab.registry}/library")),
    )


@pytest.fixture(scope="session")
def transport(cluster: Cluster) -> Iterator[Transport]:
    """A connection to the lab."""
    with open_transport(cluster) as opened:
        yield opened


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, cluster: Cluster, transport: Transport) -> Iterator[Cluster]:
    """The lab as a cluster, with a folder of one test file's own, named after it; gone with the file's last test."""
    root = f"$SCRATCH/{OWN}/{request.module.__name__.rpartition('.')[2]}"
    yield replace(cluster, root=root)
    transport.run(["sh", "-c", f"chmod -R u+rwX {root}; rm -rf {root}"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example workspace."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


@pytest.fixture(scope="session")
def built(cluster: Cluster, transport: Transport) -> BuiltImage:
    """The example, built once on the lab's login node."""
    return build_on(generate(SETTINGS, EXAMPLE), session(cluster, transport))


Quick = Callable[..., Definition]


@pytest.fixture
def quick(project: Path) -> Quick:
    """Make definitions of one small stage on a slim base image: seconds matter to those tests that build often.

    `post` and `test` are shell lines; `mark` makes the inputs different from every other's.
    """

    def make(mark: str, post: str = "true", test: str = "true") -> Definition:
        (project / "defs").mkdir(exist_ok=True)
        (project / "defs/pixi.def").write_text(
            "Bootstrap: docker\nFrom: [= final.source =]\n\n%arguments\n    ENVIRONMENT=gpu\n    CUDA_VERSION=12\n\n"
            f"%post -c /bin/bash\nset -eu\n: {mark}\n{post}\n\n%test\n#!/bin/sh\nset -e\n{test}\n"
        )
        slim = replace(
            SETTINGS, name=mark, base=f"docker.io/{base_image.SLIM}", files=(), setup=(), environment=(), labels=()
        )
        return generate(slim, project)

    return make
