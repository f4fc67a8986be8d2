"""Projects as their workflows see them: the golden files' own."""

from collections.abc import Mapping
from dataclasses import replace

from hpcdeploy.architecture import AMD64, ARM64
from hpcdeploy.flows.workflow import Workflow
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.source import PixiSource

PIN = "hpcdeploy @ git+https://git.example.org/hpc/hpcdeploy@0123456789abcdef0123456789abcdef01234567"


def image(name: str, *repositories: str, secrets: tuple[Secret, ...] = ()) -> ImageSettings:
    return ImageSettings(name=name, source=PixiSource(), repositories=repositories, secrets=secrets)


ONE = Workflow(
    images=[image("default", "ghcr.io/me/train")],
    paths=[".github/workflows/images.yaml", "app/**", "hpcdeploy.toml", "pixi.lock", "pixi.toml"],
    branch="main",
    install="hpcdeploy==1.2.3",
)
MANY = Workflow(
    images=[
        image(
            "ml_platform",
            "ghcr.io/maniaclab/ml-platform",
            "docker.io/ivukotic/ml_platform",
            "hub.opensciencegrid.org/usatlas/ml-platform",
        ),
        image(
            "spack",
            "ghcr.io/maniaclab/spack",
            secrets=(
                Secret(name="CACHE_USER", env="OCI_USER"),
                Secret(name="CACHE_KEY", file="~/.key"),
                Secret(name="token", env="GITHUB_PRIVATE"),
            ),
        ),
        image("private", "registry.example.org:5000/me/x", secrets=(Secret(name="CACHE_USER", env="OCI_USER"),)),
        image("local-only"),
    ],
    paths=[".github/workflows/images.yaml", "ml_platform/**", "spack/**"],
    branch="trunk",
    install=PIN,
)
SUBFOLDER = Workflow(
    images=[image("gpu-noble-cuda-12.9", "ghcr.io/me/exercise"), image("cpu", "ghcr.io/me/exercise")],
    paths=[".github/workflows/cuda.yaml", "cuda-exercise/app/**", "cuda-exercise/pixi.lock", "cuda-exercise/pixi.toml"],
    branch="main",
    install="hpcdeploy==1.2.3",
    subfolder="cuda-exercise",
)
ODD = Workflow(
    images=[
        image("on", "9front.example.org/a"),
        image("1.0", "github.example.org/b", secrets=(Secret(name="one", env="one"),)),
        image("-x", "localhost:5000/c", secrets=(Secret(name="one", env="one"),)),
        image("null", "localhost:5000/d"),
    ],
    paths=[r"it's here/\[a\] \*.txt", "ünï: #1/**"],
    branch="c++/#1-it's",
    install="/srv/it's hpcdeploy; touch /tmp/never",
    subfolder='it\'s $(touch never) `x` "q"',
)
PLATFORMS = Workflow(
    images=[
        image("train", "ghcr.io/me/train"),
        replace(image("train-arm64", "ghcr.io/me/train"), platform=ARM64),
        replace(image("plain", "ghcr.io/me/plain"), platform=AMD64),
    ],
    paths=["hpcdeploy.toml", "pixi.lock", "pixi.toml"],
    branch="main",
    install="hpcdeploy==1.2.3",
)
WORKFLOWS: Mapping[str, Workflow] = {"platforms": PLATFORMS, "one": ONE, "many": MANY, "subfolder": SUBFOLDER, "odd": ODD}
