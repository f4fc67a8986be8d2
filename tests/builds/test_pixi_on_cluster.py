"""Pixi workspaces of every kind, built with the real Apptainer in the lab."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, FileCopy, ImageSettings, Step
from hpcdeploy.source import PixiSource
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab import channel, wheel
from hpcdeploy_lab.state import Lab
from tests.builds.test_build_on_cluster import shell
from tests.lab_image.test_standin_platforms import RICH, rich_lock
from tests.sessions import session
from tests.shared import OWN

RUNTIME = ("hpcdeploy-demo-activation", "hpcdeploy-demo-runtime")
MANIFEST = f"""\
[workspace]
name = "whole"
channels = ["{channel.URL}"]
platforms = [{{ platform = "linux-64", cuda = "12.9" }}]
[dependencies]
hpcdeploy-demo-runtime = "*"
[pypi-dependencies]
{wheel.NAME} = "*"
my-lib = {{ path = "parts/my-lib", editable = true }}
my-tool = {{ path = "parts/my-tool" }}
"""
PYPROJECT = '[project]\nname = "{name}"\nversion = "0.1.0"\n'
WHEEL = f"pypi: {wheel.SITE}/{wheel.FILE}\nname: {wheel.NAME}\nversion: {wheel.VERSION}\nsha256: "
LIB, TOOL = "pypi: ./parts/my-lib\nname: my-lib\nversion: 0.1.0", "pypi: ./parts/my-tool\nname: my-tool\nversion: 0.1.0"
SHA = hashlib.sha256(wheel.build()).hexdigest()


def conda_entries() -> list[str]:
    entries = []
    for package in channel.PACKAGES:
        if package.name in RUNTIME:
            sums = channel.checksums(channel.build(package))
            depends = "".join(f"\n- {item}" for item in package.depends)
            entries.append(
                f"conda: {channel.URL}/{channel.SUBDIR}/{package.file_name}\nsha256: {sums['sha256']}\nmd5: {sums['md5']}"
                + (f"\ndepends:{depends}" if depends else "")
            )
    return entries


def lock(*entries: str) -> str:
    every = [*conda_entries(), *entries]
    listed = "".join(f"      - {entry.splitlines()[0]}\n" for entry in every)
    text = (
        f"version: 6\nenvironments:\n  default:\n    channels:\n    - url: {channel.URL}/\n    packages:\n      linux-64:\n"
    )
    text += f"{listed}packages:\n"
    return text + "".join("- " + entry.replace("\n", "\n  ") + "\n" for entry in every)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def mirrored(lab: Lab, place: Cluster) -> Cluster:
    """The lab as a cluster with mirrors of every registry that these tests name."""
    return replace(place, mirrors=place.mirrors)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a wheel, an editable package and one that is not; its base is chosen by CUDA."""
    files = {
        "pixi.toml": MANIFEST,
        "pixi.lock": lock(WHEEL + SHA, LIB, TOOL),
        "parts/my-lib/pyproject.toml": PYPROJECT.format(name="my-lib"),
        "parts/my-lib/src/my_lib/__init__.py": "NAME = 'the editable one'\n",
        "parts/my-tool/pyproject.toml": PYPROJECT.format(name="my-tool"),
        "parts/my-tool/my_tool.py": "NAME = 'the installed one'\n",
        "app/serve.sh": '#!/bin/bash\necho "serving for $1 in $CONDA_PREFIX" > "$2"\nexec sleep 600\n',
    }
    folder = write(tmp_path_factory.mktemp("whole"), **files)
    (folder / "app/serve.sh").chmod(0o755)
    return folder


WHOLE = ImageSettings(
    name="whole",
    source=PixiSource(),
    files=(FileCopy(source="app", destination="/app/src"),),
    setup=(Step(run="hpcdeploy-demo > /app/said"), Step(run="command -v python > /app/python")),
    test=("python -c 'import my_lib, my_tool, hpcdeploy_demo_wheel'", "hpcdeploy-demo-wheel"),
    command=("/app/src/serve.sh", "run", "/dev/stdout"),
    start=("/app/src/serve.sh", "start", "/host-libs/said"),
    ports=(8000, 8443),
    bind_points=("/host-libs",),
)


@pytest.fixture(scope="module")
def built_whole(whole: Path, mirrored: Cluster, transport: Transport) -> BuiltImage:
    return build_on(generate(WHOLE, whole), session(mirrored, transport))


def test_the_base_with_the_environments_cuda_is_built_on(built_whole: BuiltImage, transport: Transport) -> None:
    assert built_whole.base == "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"
    assert shell(transport, "apptainer exec \"$1\" sh -c 'echo $CONDA_OVERRIDE_CUDA'", built_whole.path) == "12.9\n"


def test_wheels_and_own_packages_are_installed_and_only_an_editable_ones_source_is_kept(
    built_whole: BuiltImage, transport: Transport
) -> None:
    lines = "import my_lib, my_tool, hpcdeploy_demo_wheel as w; w.main(); print(my_lib.NAME, my_lib.__file__); "
    lines += "print(my_tool.NAME, my_tool.__file__)"
    told = shell(transport, 'apptainer exec "$1" python -c "$2"', built_whole.path, lines).splitlines()
    site = "/app/.pixi/envs/default/lib/python3.13/site-packages"
    assert told == [
        f"{wheel.NAME} {wheel.VERSION}",
        "the editable one /app/parts/my-lib/src/my_lib/__init__.py",
        f"the installed one {site}/my_tool.py",
    ]
    assert shell(transport, 'apptainer exec "$1" ls /app/parts', built_whole.path) == "my-lib\n"


def test_setup_ran_in_the_active_environment(built_whole: BuiltImage, transport: Transport) -> None:
    told = shell(transport, 'apptainer exec "$1" cat /app/said /app/python', built_whole.path)
    assert "installed in /app/.pixi/envs/default" in told
    assert told.endswith("/app/.pixi/envs/default/bin/python\n")


def test_ports_are_a_label_bind_points_are_folders_and_help_says_how_to_run(
    built_whole: BuiltImage, transport: Transport
) -> None:
    assert "io.github.hpcdeploy.ports: 8000 8443" in shell(transport, 'apptainer inspect "$1"', built_whole.path)
    assert shell(transport, 'apptainer exec "$1" stat -c %F /host-libs', built_whole.path) == "directory\n"
    told = shell(transport, 'apptainer run-help "$1"', built_whole.path)
    assert "The Pixi environment default" in told
    assert "apptainer run --nv IMAGE.sif" in told
    assert "It listens on: 8000, 8443" in told


def test_an_instance_runs_the_start_command_with_a_site_s_folder_bound(
    built_whole: BuiltImage, transport: Transport
) -> None:
    libs = f"$SCRATCH/{OWN}/libs"
    line = f'mkdir -p "{libs}" && apptainer instance start --bind "{libs}:/host-libs" "$1" {OWN} >&2'
    try:
        shell(transport, line, built_whole.path)
        deadline = time.monotonic() + 30
        while not (told := shell(transport, f'cat "{libs}/said" 2>/dev/null || true')):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert told == "serving for start in /app/.pixi/envs/default\n"
    finally:
        shell(transport, f'apptainer instance stop {OWN} >&2; rm -rf "{libs}"')


def test_nv_without_a_driver_runs_and_the_library_path_is_its_own(built_whole: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec --nv --cleanenv "$1" sh -c \'hpcdeploy-demo >&2; echo "<$LD_LIBRARY_PATH>"\''
    assert shell(transport, line, built_whole.path) in ("<>\n", "</.singularity.d/libs>\n")


def test_an_editable_workspace_is_whole_in_the_image(tmp_path: Path, mirrored: Cluster, transport: Transport) -> None:
    head, tail = MANIFEST.partition("[pypi-dependencies]")[0], 'mine = { path = ".", editable = true }\n'
    manifest = head.replace("[workspace]", "[tool.pixi.workspace]").replace("[dependencies]", "[tool.pixi.dependencies]")
    files = {
        "pyproject.toml": f"{PYPROJECT.format(name='mine')}{manifest}[tool.pixi.pypi-dependencies]\n{tail}",
        "pixi.lock": lock("pypi: ./\nname: mine\nversion: 0.1.0"),
        "src/mine/__init__.py": "print('from', __file__)\n",
    }
    definition = generate(ImageSettings(name="mine", source=PixiSource()), write(tmp_path, **files))
    image = build_on(definition, session(mirrored, transport))
    told = shell(transport, 'apptainer exec "$1" python -c "import mine"; apptainer exec "$1" ls -A /app', image.path)
    first, *names = told.split("\n")
    assert first == "from /app/src/mine/__init__.py"
    assert sorted(filter(None, names)) == sorted(
        [".pixi", "activate.sh", "entrypoint.sh", "pixi.lock", "pyproject.toml", "src"]
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A workspace that needs no Python."""
    head = MANIFEST.partition("[pypi-dependencies]")[0].replace(', cuda = "12.9"', "")
    return write(tmp_path, **{"pixi.toml": head, "pixi.lock": lock()})


SLIM = ImageSettings(
    name="slim", source=PixiSource(), final_base="debian:trixie-slim", setup=(Step(run="hpcdeploy-demo > /app/said"),)
)


def test_a_slimmer_final_base_without_pixi_and_python_works(bare: Path, mirrored: Cluster, transport: Transport) -> None:
    image = build_on(generate(SLIM, bare), session(mirrored, transport))
    assert image.base == "debian:trixie-slim"
    line = "apptainer exec \"$1\" sh -c 'hpcdeploy-demo; cat /app/said; command -v pixi python3 || echo neither'"
    told = shell(transport, line, image.path).splitlines()
    assert told.count("hpcdeploy-demo 1.2.0, installed in /app/.pixi/envs/default") == 2
    assert told[-1] == "neither"


Fails = Callable[[ImageSettings, Path], str]


@pytest.fixture
def failing(mirrored: Cluster, transport: Transport) -> Fails:
    def build(settings: ImageSettings, folder: Path) -> str:
        with pytest.raises(BuildError) as caught:
            build_on(generate(settings, folder), session(mirrored, transport))
        return str(caught.value)

    return build


def test_a_final_base_with_an_older_c_library_fails_the_build_with_one_reason(bare: Path, failing: Fails) -> None:
    write(bare, **{"defs/pixi_bases.toml": 'repository = "ghcr.io/prefix-dev/pixi"\nplain = "noble"\n'})
    manifest = bare / "pixi.toml"
    manifest.write_text(manifest.read_text() + '[system-requirements]\nlibc = "2.99"\n')
    told = failing(SLIM, bare)
    assert "the final base image has glibc 2.41, but the packages are locked for glibc 2.99 or newer" in told


def test_a_failing_step_of_setup_fails_the_build(bare: Path, failing: Fails) -> None:
    settings = replace(SLIM, setup=(Step(run="echo no such data >&2; false"), Step(run="echo not reached")))
    assert "no such data" in failing(settings, bare)


def test_a_wheel_with_another_checksum_fails_the_build(whole: Path, failing: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    text = (whole / "pixi.toml").read_text().partition("my-lib")[0]
    write(folder, **{"pixi.toml": text, "pixi.lock": lock(WHEEL + "0" * 64)})
    assert f"Hash mismatch for `{wheel.NAME}`" in failing(replace(WHOLE, files=(), test=(), setup=()), folder)


@pytest.mark.parametrize(("platform", "said"), [("linux-64", "plain"), ("a100", "a100")])
def test_the_platform_that_was_chosen_is_installed(
    tmp_path: Path, mirrored: Cluster, transport: Transport, platform: str, said: str
) -> None:
    """Of two platforms the stand-in, as pixi, takes the first: the other one must be named to it."""
    write(tmp_path, **{"pixi.toml": RICH, "pixi.lock": rich_lock(), "inline.sh": ""})
    settings = ImageSettings(
        name=f"rich-{platform}",
        source=PixiSource(platform=platform),
        test=(f'test "${{DEMO_PLATFORM:-plain}}" = {said}',),
    )
    image = build_on(generate(settings, tmp_path), session(mirrored, transport))
    script = "ls $CONDA_PREFIX/conda-meta; echo ${DEMO_PLATFORM:-plain}"
    told = shell(transport, 'apptainer exec "$1" sh -c "$2"', image.path, script)
    assert ("hpcdeploy-demo-cuda-12.9.0" in told) == (platform == "a100")
    assert told.endswith(f"{said}\n")


def test_an_inline_environment_is_active_with_its_script(tmp_path: Path, mirrored: Cluster, transport: Transport) -> None:
    write(tmp_path, **{"pixi.toml": RICH, "pixi.lock": rich_lock(), "inline.sh": "export DEMO_SCRIPT=ran\n"})
    settings = ImageSettings(name="inline", source=PixiSource(environment="inline", platform="linux-64"))
    image = build_on(generate(settings, tmp_path), session(mirrored, transport))
    assert shell(transport, "apptainer exec \"$1\" sh -c 'echo $DEMO_INLINE $DEMO_SCRIPT'", image.path) == "yes ran\n"
