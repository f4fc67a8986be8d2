"""Activation in images of the real Apptainer: scripts that source a neighbour, and values of the job that starts it."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_progress import BuildEvent
from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, ImageSettings, Step
from hpcdeploy.source import PixiSource
from hpcdeploy.transport.contract import Transport
from tests.builds.test_build_on_cluster import shell
from tests.builds.test_pixi_on_cluster import MANIFEST, lock, write
from tests.sessions import session
from tests.shared import OWN

ACTIVATION = """
[activation]
scripts = ["scripts/setup.sh"]
[activation.env]
CACHE = "$SCRATCH_OF_JOB/cache"
DATA = "${CACHE}/${NAME:-none}"
FIXED = "$CONDA_PREFIX/share"
ODD = 'a "b" \\\\ $NAME {x} 100%'
LIBRARIES = "$CONDA_PREFIX/lib${LIBRARIES:+:$LIBRARIES}"
PATH = "$SCRATCH_OF_JOB/bin:$PATH"
"""
FILES = {
    "scripts/setup.sh": '. "$PIXI_PROJECT_ROOT/scripts/lib/common.sh"\n',
    "scripts/lib/common.sh": "export COMMON=from-the-neighbour LIBRARIES=/opt/common\n"
    "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-$(nproc)}\n",
}
SETTINGS = ImageSettings(
    name="activation", source=PixiSource(), setup=(Step(run='printf %s "$CACHE" > /app/said-in-setup'),), test=("true",)
)
PRINT = 'for name; do eval "printf \'%s=<%s>\\\\n\' $name \\"\\${$name-unset}\\""; done'
NAMES = ("CACHE", "DATA", "FIXED", "ODD", "LIBRARIES", "COMMON")
PREFIX = "/app/.pixi/envs/default"


def workspace(folder: Path, **files: str) -> Path:
    head = MANIFEST.partition("[pypi-dependencies]")[0].replace(', cuda = "12.9"', "")
    write(folder, **{"pixi.toml": head + ACTIVATION, "pixi.lock": lock(), **FILES, **files})
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    return folder


@pytest.fixture(scope="module")
def built(
    place: Cluster, transport: Transport, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BuiltImage, list[BuildEvent]]:
    events: list[BuildEvent] = []
    folder = workspace(tmp_path_factory.mktemp("activation"))
    return build_on(generate(SETTINGS, folder), session(place, transport), report=events.append), events


def told(scratch: str, name: str) -> str:
    return (
        f"CACHE=<{scratch}/cache>\nDATA=<{scratch}/cache/{name or 'none'}>\nFIXED=<{PREFIX}/share>\n"
        f'ODD=<a "b" \\ {name} {{x}} 100%>\nLIBRARIES=<{PREFIX}/lib:/opt/common>\nCOMMON=<from-the-neighbour>\n'
    )


@pytest.mark.parametrize(
    "start",
    [
        'apptainer exec "$1" sh -c "${@:2}"',
        'apptainer run "$1" bash -c "${@:2}"',
        (
            f'apptainer instance start "$1" {OWN} >&2; apptainer exec instance://{OWN} sh -c "${{@:2}}"; '
            f"apptainer instance stop {OWN} >&2"
        ),
    ],
    ids=["exec", "run", "instance"],
)
def test_values_are_evaluated_by_what_is_set_where_the_container_starts(
    built: tuple[BuiltImage, list[BuildEvent]], transport: Transport, start: str
) -> None:
    line = f"export SCRATCH_OF_JOB='/s/a \"b\" $HOME `id`' NAME=n\n{start}"
    assert shell(transport, line, built[0].path, PRINT, "sh", *NAMES) == told('/s/a "b" $HOME `id`', "n")


def test_what_is_not_set_is_empty(built: tuple[BuiltImage, list[BuildEvent]], transport: Transport) -> None:
    line = 'export SCRATCH_OF_JOB=/s NAME=n; apptainer exec --cleanenv "$1" sh -c "${@:2}"'
    assert shell(transport, line, built[0].path, PRINT, "sh", *NAMES) == told("", "")


def test_the_path_goes_on_with_the_environment_s_own(
    built: tuple[BuiltImage, list[BuildEvent]], transport: Transport
) -> None:
    line = 'export SCRATCH_OF_JOB=/s; apptainer exec "$1" sh -c \'echo "$PATH"\''
    assert shell(transport, line, built[0].path).startswith(f"/s/bin:{PREFIX}/bin:/")


def test_the_build_names_what_a_script_froze(built: tuple[BuiltImage, list[BuildEvent]]) -> None:
    notes = [event.text for event in built[1] if event.is_step and event.text.startswith("note: ")]
    assert [note.partition(" depending on where it runs")[0] for note in notes] == ["note: activation sets OMP_NUM_THREADS"]


def test_named_files_are_there_for_the_activation_and_not_in_the_image(
    place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    script = {"scripts/setup.sh": '. "$PIXI_PROJECT_ROOT/install/setup.bash"\n'}
    folder = workspace(tmp_path, **{".gitignore": "install/\n", "install/setup.bash": "export ROBOT=r2\n"}, **script)
    settings = replace(SETTINGS, name="named", source=PixiSource(files=("install",)), setup=())
    image = build_on(generate(settings, folder), session(place, transport))
    line = 'apptainer exec "$1" sh -c \'echo "$ROBOT"; ls /app\''
    robot, *names = shell(transport, line, image.path).splitlines()
    assert robot == "r2"
    assert "scripts" in names
    assert "install" not in names
