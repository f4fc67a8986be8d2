"""The Dockerfile that ``generate --format dockerfile`` writes, built by a real podman from the lab's base image, and run."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.state import Lab
from tests.here.engines import Podman, podman_in

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent.parent / "examples/pixi-gpu"
SETTINGS = r"""
[image]
pixi = { environment = "gpu", secrets = ["CHANNEL_TOKEN"] }
base = "BASE"
files = { "app" = "/app/src" }
environment = { AWKWARD = "it's \"$HOME\" \\ {{ X }} ✓" }
secrets = { CHANNEL_TOKEN = { env = "CHANNEL_TOKEN" } }
command = ["printf", "<%s>", "no words", "", "it's $HOME"]
setup = [
    "hpcdeploy-demo > /app/said-in-setup",
    { run = 'printf %s "$CHANNEL_TOKEN" | wc -c > /app/length', secrets = ["CHANNEL_TOKEN"] },
]
[image.labels]
"org.opencontainers.image.title" = "the example"
"""
ACTIVATION = '[activation]\nscripts = ["scripts/setup.sh"]\n[activation.env]\n'
SECRET = "marker-of-a-secret-4711"


@pytest.fixture(scope="module")
def podman(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    folder = tmp_path_factory.mktemp("podman")
    with podman_in(folder) as ready:
        yield ready


@pytest.fixture(scope="module")
def built(podman: Podman, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder, whose Dockerfile was written by the command and built as ``localhost/written``."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("written") / "project"))
    (folder / "hpcdeploy.toml").write_text(SETTINGS.replace("BASE", reference(lab)))
    manifest = (folder / "pixi.toml").read_text()
    (folder / "pixi.toml").write_text(manifest.replace("[activation.env]\n", f"{ACTIVATION}CACHE = '$SCRATCH/cache'\n"))
    (folder / "scripts/lib").mkdir(parents=True)
    (folder / "scripts/setup.sh").write_text(". /app/scripts/lib/common.sh\n")
    (folder / "scripts/lib/common.sh").write_text('export COMMON="from the neighbour, task ${SLURM_PROCID:-none}"\n')
    (folder / "left-out").write_text("no\n")
    (folder / "token").write_text(SECRET)
    subprocess.run([COMMAND, "generate", "--format", "dockerfile", "-o", "Dockerfile"], cwd=folder, check=True)
    secret = f"--secret=id=CHANNEL_TOKEN,src={folder}/token"
    words = ("podman", "build", "--isolation=chroot", "--tls-verify=false", "--layers=false", secret)
    podman(*words, "--tag=localhost/written", ".", cwd=folder, check=True)
    return folder


def run(podman: Podman, folder: Path, *words: str) -> str:
    return podman("podman", "run", "--rm", "localhost/written", *words, cwd=folder, check=True).stdout.decode()


def test_its_command_runs_with_every_word(podman: Podman, built: Path) -> None:
    assert run(podman, built) == "<no words><><it's $HOME>"


def test_words_run_in_the_active_environment(podman: Podman, built: Path) -> None:
    said = run(podman, built, "sh", "-c", 'echo "$PIXI_ENVIRONMENT_NAME $DEMO_ACTIVATED"; echo "$AWKWARD"; hpcdeploy-demo')
    first, awkward, *demo = said.splitlines()
    assert first == "gpu hpcdeploy-demo-activation 1.0.0"
    assert awkward == 'it\'s "$HOME" \\ {{ X }} ✓'
    assert run(podman, built, "cat", "/app/said-in-setup").splitlines() == demo


def test_activation_runs_at_every_start_with_the_neighbours_of_its_scripts(podman: Podman, built: Path) -> None:
    words = ("--env=SCRATCH=/s", "--env=SLURM_PROCID=3", "localhost/written", "sh", "-c", 'echo "$CACHE|$COMMON"')
    assert podman("podman", "run", "--rm", *words, cwd=built, check=True).stdout == b"/s/cache|from the neighbour, task 3\n"
    assert run(podman, built, "sh", "-c", 'echo "$CACHE|$COMMON"') == "/cache|from the neighbour, task none\n"


def test_it_holds_the_files_and_nothing_else_of_the_project(podman: Podman, built: Path) -> None:
    assert run(podman, built, "ls", "-A", "/app/src") == "report.sh\n"
    assert "left-out" not in run(podman, built, "ls", "-A", "/app")


def test_a_secret_is_there_for_its_step_only(podman: Podman, built: Path) -> None:
    assert run(podman, built, "cat", "/app/length") == f"{len(SECRET)}\n"
    archive = built.parent / "image.tar"
    podman("podman", "save", "--format=oci-dir", f"--output={archive}", "localhost/written", cwd=built, check=True)
    found = subprocess.run(
        ["sh", "-c", f"for f in {archive}/blobs/sha256/* {archive}/*; do [ -d $f ] || zcat -f $f; done"],
        capture_output=True,
        check=True,
    )
    assert b"said-in-setup" in found.stdout
    assert SECRET.encode() not in found.stdout
