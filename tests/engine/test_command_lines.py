"""The very command line of each engine, for the same container; Apptainer's is in the script that does it by hand."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import __version__
from hpcdeploy.engine import apptainer, docker
from hpcdeploy.engine.contract import APPTAINERS, Command, Container, Engine, EngineName, GpuName, as_script
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind

GOLDEN = Path(__file__).parent / "golden"
WORDS = ("python", "train.py", "it's $HOME", "")
ENVIRONMENT = (("HPCDEPLOY_TASK", "0"), ("NAME", 'two "words" `id`'))
BINDS = (
    Bind(source="/home/me/work, here", destination="/home/me/work, here"),
    Bind(source='/data/"x":y', destination="/data", read_only=True),
)
ENGINES: tuple[EngineName, ...] = ("apptainer", "singularity", "docker", "podman")


def container(engine: EngineName, gpu: GpuName) -> Container:
    image = "/images/train.sif" if engine in APPTAINERS else "docker://localhost:5000/me/train:1"
    return Container(image=image, binds=BINDS, workdir="/home/me/work, here", gpu=gpu, plain_http=engine not in APPTAINERS)


def run(engine: EngineName, gpu: GpuName) -> Command:
    runner = Engine(name=engine, program=f"/usr/bin/{engine}")
    if engine in APPTAINERS:
        program = apptainer.program_text(WORDS, ENVIRONMENT)
        return apptainer.run(runner, container(engine, gpu), program, "/tmp/hpcdeploy-0123")
    return docker.run(runner, container(engine, gpu), WORDS, ENVIRONMENT, terminal=gpu == "")


def start(engine: EngineName) -> Command:
    runner = Engine(name=engine, program=f"/usr/bin/{engine}")
    if engine in APPTAINERS:
        folder = "/home/me/.local/state/hpcdeploy/instances/web"
        return apptainer.start_instance(runner, container(engine, ""), "web", WORDS, ENVIRONMENT, folder)
    return docker.start_instance(runner, container(engine, ""), "web", WORDS, ENVIRONMENT)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_container_is_started_as_written_down(engine: EngineName) -> None:
    written = [as_script(run(engine, gpu), "END") for gpu in ("nvidia", "amd", "")]
    written.append(as_script(start(engine), "END"))
    text = "\n".join(written).replace(__version__, "VERSION")
    file = GOLDEN / f"{engine}.sh"
    if os.environ.get("HPCDEPLOY_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shell_reads_the_very_command_line_that_is_printed(engine: EngineName, tmp_path: Path) -> None:
    folder = str(tmp_path / "a folder")
    command = run(engine, "nvidia")
    if command.folder:
        command = replace(command, folder=folder)
    command = replace(command, argv=("printf", "%s\\0", *command.argv[1:]))
    said = subprocess.run(["sh", "-c", as_script(command, "END")], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == list(command.argv[2:])
    assert not Path(folder).exists()


@pytest.mark.parametrize("value", ["\x80", "\x9f", "\udce9"])
def test_an_instances_variables_hold_nothing_that_apptainer_loses(value: str) -> None:
    runner = Engine(name="apptainer", program="apptainer")
    with pytest.raises(ConfigError, match="NAME is"):
        apptainer.start_instance(runner, container("apptainer", ""), "web", (), (("NAME", value),), "/x")


def test_the_list_of_instances_is_read_and_anything_else_is_no_list() -> None:
    assert apptainer.running_instances('{"instances": [{"instance": "web", "pid": 1}]}') == {"web"}
    with pytest.raises(ValueError, match="Expecting"):
        apptainer.running_instances("FATAL: no")
