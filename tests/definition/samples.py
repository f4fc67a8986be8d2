"""Recipes whose definitions are kept as golden files, and the awkward texts that they carry."""

from hpcdeploy.definition.pixi import Activation, OwnPackage, PixiRecipe
from hpcdeploy.environments.pixi_activation import Started
from hpcdeploy.image import FileCopy, ImageSettings, Step
from hpcdeploy.source import PixiSource

LOCK = "ab" * 32
BASE = "ghcr.io/prefix-dev/pixi:noble"

AWKWARD = (
    "",
    "a b",
    'it\'s "quoted"',
    "$HOME `id` \\ $(id)",
    "line\n%post\nBootstrap: x",
    "{{ NAME }}",
    "# no comment",
    "ünïcode ✓",
)

MINIMAL = PixiRecipe(
    settings=ImageSettings(name="minimal", source=PixiSource(), base=BASE),
    environment="default",
    cuda="",
    workspace=("pixi.toml", "pixi.lock"),
    lock_sha256=LOCK,
)

GPU = PixiRecipe(
    settings=ImageSettings(
        name="train",
        source=PixiSource(environment="gpu"),
        base="ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1",
        files=(
            FileCopy(source="app", destination="/app/src"),
            FileCopy(source="data.csv", destination="/opt/my data/d.csv"),
        ),
        setup=(Step(run="apt-get update"), Step(run="echo 'for {{ ENVIRONMENT }}'  # a note")),
        test=("python -c 'import torch'",),
        command=("python", "/app/src/train.py", "--name", "a b"),
        environment=(("OMP_NUM_THREADS", "4"),),
        labels=(("org.opencontainers.image.title", "My training"),),
    ),
    environment="gpu",
    cuda="12.9",
    workspace=("pixi.toml", "pixi.lock", "scripts/activate.sh"),
    lock_sha256=LOCK,
)

SLIM = PixiRecipe(
    settings=ImageSettings(
        name="slim",
        source=PixiSource(environment="prod"),
        base="docker://ghcr.io/prefix-dev/pixi:0.60.0",
        final_base="ubuntu:24.04",
        build_args=(("COLOUR", "dark blue"),),
        setup=(Step(run="echo {{ COLOUR }}"),),
        ports=(8000,),
        bind_points=("/host-libs",),
        start=("uvicorn", "mine:app"),
    ),
    environment="prod",
    cuda="",
    workspace=("pyproject.toml", "pixi.lock"),
    lock_sha256=LOCK,
    glibc="2.28",
)

EDITABLE = PixiRecipe(
    settings=ImageSettings(name="editable", source=PixiSource(), base=BASE),
    environment="default",
    cuda="",
    workspace=("pyproject.toml", "pixi.lock"),
    lock_sha256=LOCK,
    own=(OwnPackage(name="mine", place=".", editable=True), OwnPackage(name="inner", place="packages/inner")),
)

SOURCES = PixiRecipe(
    settings=ImageSettings(name="sources", source=PixiSource(), base=BASE),
    environment="default",
    cuda="",
    workspace=("pixi.toml", "pixi.lock"),
    lock_sha256=LOCK,
    own=(
        OwnPackage(name="one", place="packages/one", editable=True),
        OwnPackage(name="two", place="packages/two"),
        OwnPackage(name="three", place="wheels/three-1.0-py3-none-any.whl"),
    ),
)

RICH = PixiRecipe(
    settings=ImageSettings(name="rich", source=PixiSource(platform="a100"), base=BASE),
    environment="default",
    cuda="12.9",
    workspace=("pixi.toml", "pixi.lock"),
    lock_sha256=LOCK,
    platform="a100",
    overrides=(
        ("CONDA_OVERRIDE_CUDA_ARCH", "8.0"),
        ("CONDA_OVERRIDE_ARCHSPEC", "x86_64_v3"),
        ("CONDA_OVERRIDE_GLIBC", "2.34"),
    ),
)

AWKWARD_WORDS = PixiRecipe(
    settings=ImageSettings(
        name="awkward",
        source=PixiSource(),
        base=BASE,
        command=("printf", "<%s>\\n", *AWKWARD),
        environment=tuple((f"VALUE_{number}", text) for number, text in enumerate(AWKWARD)),
        setup=tuple(Step(run=line) for line in ("cat <<END > /app/page", "<b>{{.Title}}</b>", "END")),
    ),
    environment="default",
    cuda="12",
    workspace=("pixi.toml", "pixi.lock"),
    lock_sha256=LOCK,
)

ACTIVATED = PixiRecipe(
    settings=ImageSettings(name="activated", source=PixiSource(), base=BASE),
    environment="default",
    cuda="",
    workspace=("pixi.toml", "pixi.lock", "scripts/activate.sh"),
    lock_sha256=LOCK,
    activation=Activation(
        beside=("scripts/common.sh", "env.sh"),
        folders=("scripts",),
        more=("install",),
        started=(
            Started(name="CACHE", text="${SCRATCH}/cache"),
            Started(name="ODD", text="\\\\ \\\" \\$ \\` it's {x} %s # ${X:-é}\nsecond"),
            Started(name="LD_LIBRARY_PATH", text="${CONDA_PREFIX}/lib${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}", extends=True),
        ),
        outside=("LD_LIBRARY_PATH", "SCRATCH", "X"),
        surroundings=("OMP_NUM_THREADS", "SCRATCH", "SLURM_CPUS_PER_TASK", "X"),
    ),
)

RECIPES = {
    recipe.settings.name: recipe for recipe in (MINIMAL, GPU, SLIM, AWKWARD_WORDS, EDITABLE, SOURCES, ACTIVATED, RICH)
}
