"""Recipes of Spack environments whose definitions are kept as golden files."""

from hpcdeploy.definition.spack import BUILD, ENVIRONMENT, SpackRecipe
from hpcdeploy.environments.spack_container import Container
from hpcdeploy.image import FileCopy, ImageSettings, Secret, Step
from hpcdeploy.source import SpackSource, User

TARGET = "packages:all:require:[target=x86_64_v3]"

MINIMAL = SpackRecipe(
    settings=ImageSettings(name="spack-minimal", source=SpackSource()),
    source=SpackSource(),
    target="x86_64_v3",
    shipped=(f"{ENVIRONMENT}/spack.yaml",),
    options=(TARGET,),
)

CONTAINER = SpackRecipe(
    settings=ImageSettings(name="spack-container", source=SpackSource(), labels=(("app", "mine"),)),
    source=SpackSource(),
    target="zen4",
    shipped=(f"{ENVIRONMENT}/spack.yaml",),
    container=Container(
        build="custom/cuda-13.0.1:latest",
        final="nvidia/cuda:13.0.1-base-ubuntu22.04",
        manager="apt",
        build_packages=("git", "libfoo++"),
        final_packages=("libgomp1",),
        labels=(("app", "theirs"), ("site", "a b")),
        test="demo --version",
    ),
)

SYSTEM = SpackRecipe(
    settings=ImageSettings(name="spack-system", source=SpackSource(), base="registry.example.org/spack:1"),
    source=SpackSource(),
    target="x86_64_v3",
    shipped=(f"{ENVIRONMENT}/spack.yaml",),
    options=(TARGET,),
    container=Container(strip=False, update=False, build_packages=("git",)),
)

WHOLE_SOURCE = SpackSource(
    push_cache="my-cache",
    cc="/usr/local/bin/gcc",
    cxx="/usr/local/bin/g++",
    check="check.sh",
    jobs=4,
    user=User(name="pdi"),
    secrets=("CACHE_USER", "CACHE_TOKEN"),
)

WHOLE = SpackRecipe(
    settings=ImageSettings(
        name="spack-whole",
        source=WHOLE_SOURCE,
        base="docker.io/spack/ubuntu-noble:nightly",
        final_base="docker.io/gcc:15",
        files=(FileCopy(source="tutorial", destination="/opt/tutorial"),),
        setup=(Step(run="echo '{{ COLOUR }}' > /opt/colour"),),
        test=("pdi-config --version",),
        command=("bash", "-l"),
        environment=(("OMP_NUM_THREADS", "4"),),
        labels=(("org.opencontainers.image.title", "The tutorial"),),
        build_args=(("COLOUR", "blue"),),
        ports=(8888,),
        bind_points=("/host-libs",),
        secrets=(Secret(name="CACHE_USER", env="OCI_USER"), Secret(name="CACHE_TOKEN", file="~/.token")),
    ),
    source=WHOLE_SOURCE,
    target="x86_64_v3",
    shipped=(
        *(f"{ENVIRONMENT}/spack.yaml", f"{ENVIRONMENT}/spack.lock", f"{ENVIRONMENT}/site files", "/opt/configs/common.yaml"),
        *(f"{BUILD}/repos/0/spack_repo/me/own", f"{BUILD}/recipes/0/package.py", f"{BUILD}/recipes/1"),
    ),
    repos=(f"{BUILD}/repos/0/spack_repo/me/own",),
    recipes=(("py-ray", f"{BUILD}/recipes/0"), ("3dtk", f"{BUILD}/recipes/1")),
    recipes_namespace="tbouvier.patches",
    credentials=("CACHE_USER", "CACHE_TOKEN"),
    lock_sha256="ab" * 32,
)

VIEWS = SpackRecipe(
    settings=ImageSettings(name="spack-views", source=SpackSource()),
    source=SpackSource(),
    target="zen4",
    environment=f"{ENVIRONMENT}/stacks/gpu nodes",
    shipped=(f"{ENVIRONMENT}/stacks/gpu nodes/spack.yaml", f"{ENVIRONMENT}/_config/packages.yaml"),
    options=('packages:hdf5:require::["@1.14: +mpi", "target=zen4"]', "view:default:root:/opt/view"),
    view_in_manifest=False,
    views=("/opt/tools", "/srv/my views/all"),
)

BARE = SpackRecipe(
    settings=ImageSettings(name="spack-bare", source=SpackSource()),
    source=SpackSource(),
    target="x86_64_v3",
    shipped=(f"{ENVIRONMENT}/spack.yaml",),
    options=(TARGET,),
    view=False,
    container=Container(),
)

RECIPES = {recipe.settings.name: recipe for recipe in (MINIMAL, CONTAINER, SYSTEM, WHOLE, VIEWS, BARE)}
