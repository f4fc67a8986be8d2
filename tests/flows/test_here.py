"""Planning what runs on this machine: nothing is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.engine.machine import Machine
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.here import Choices, Plan, Situation, plan_instance, plan_run
from hpcdeploy.flows.targets import Located, Wanted
from hpcdeploy.job import Array, Bind, Input, Job, Resources

APPTAINER = Machine(programs={"apptainer": "/usr/bin/apptainer"})
DOCKER = Machine(programs={"docker": "/usr/bin/docker"})
WITH_GPUS = replace(APPTAINER, devices=frozenset({"nvidiactl"}))
AS_IT_COMES = Choices()
SIF = Located(image="/images/x.sif")
REGISTRY = Located(image="docker://docker.io/library/python:3.12")


def plan(job: Job, machine: Machine = APPTAINER, choices: Choices = AS_IT_COMES, *, folder: Path = Path("/home/me")) -> Plan:
    situation = Situation(folder=folder, environment={"DATA": "/tmp"}, machine=machine, fresh="/tmp/fresh")
    located = SIF if "apptainer" in machine.programs else REGISTRY
    return plan_run(Wanted(job=job, of_project=True), located, choices, situation)


def job(**fields: object) -> Job:
    return Job(**{"name": "fit", "image": "train", "command": ("true",), **fields})  # type: ignore[arg-type]


def test_binds_are_expanded_here_and_the_working_folder_gives_way_to_one_at_its_place() -> None:
    binds = (Bind(source="$DATA", destination="/data", read_only=True), Bind(source="/", destination="/home/me"))
    assert plan(job(binds=binds)).container.binds == (
        Bind(source="/", destination="/home/me"),
        Bind(source="/tmp", destination="/data", read_only=True),
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("$NOT_SET/x", "needs NOT_SET, which is not set"),
        ("/not/there", "/not/there does not exist on this machine, so it cannot be bound"),
    ],
)
def test_a_bind_that_is_not_here_is_refused(source: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(job(binds=(Bind(source=source),)))


def test_the_folder_for_temporary_files_is_there_in_the_container_too(tmp_path: Path) -> None:
    variables = {"TMPDIR": f"{tmp_path}/", "TMP": str(tmp_path), "TEMP": f"{tmp_path}/gone", "DATA": "/tmp"}
    situation = Situation(folder=Path("/home/me"), environment=variables, machine=APPTAINER, fresh="/tmp/fresh")
    own = Bind(source="/tmp", destination="/data")
    planned = plan_run(Wanted(job=job(binds=(own,)), of_project=True), SIF, AS_IT_COMES, situation)
    at_home = Bind(source="/home/me", destination="/home/me")
    assert planned.container.binds == (Bind(source=str(tmp_path), destination=str(tmp_path)), at_home, own)
    assert "TEMP" in planned.command.without
    assert not {"TMPDIR", "TMP"} & {*planned.command.without}
    instead = Bind(source="/var", destination=str(tmp_path))
    planned = plan_run(Wanted(job=job(binds=(instead,)), of_project=True), SIF, AS_IT_COMES, situation)
    assert [bind for bind in planned.container.binds if bind.destination == str(tmp_path)] == [instead]
    planned = plan_run(Wanted(job=job(), of_project=True), REGISTRY, AS_IT_COMES, replace(situation, machine=DOCKER))
    assert planned.container.binds == (at_home,)


@pytest.mark.parametrize("folder", ["/", "/usr", "/etc"])
def test_a_working_folder_that_would_hide_the_containers_own_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="--no-mount-cwd"):
        plan(job(), folder=Path(folder))
    assert plan(job(), choices=Choices(mount=False), folder=Path(folder)).container.workdir == ""


@pytest.mark.parametrize(
    ("resources", "machine", "gpu", "notes"),
    [
        (Resources(), WITH_GPUS, None, ()),
        (Resources(gpus=1), WITH_GPUS, None, ()),
        (Resources(gpus=1), WITH_GPUS, False, ()),
        (Resources(), APPTAINER, None, ("no GPU on this machine: running without",)),
        (Resources(gpus=1), APPTAINER, None, ("fit requests 1 GPU, but there is no GPU on this machine: running without",)),
        (Resources(), APPTAINER, False, ()),
    ],
)
def test_gpus_are_given_where_there_are_some_and_said_where_not(
    resources: Resources, machine: Machine, gpu: bool | None, notes: tuple[str, ...]
) -> None:
    planned = plan(job(resources=resources), machine, Choices(gpu=gpu))
    assert planned.notes == notes
    assert ("--nv" in planned.command.argv) is (machine is WITH_GPUS and gpu is not False)


def test_what_only_a_cluster_understands_is_named() -> None:
    asked = Resources(nodes=2, cpus=4, gpu_type="a100", time=60)
    planned = plan(job(resources=asked, workdir="$SCRATCH", slurm=(("exclusive", True),), array=Array(size=5)))
    assert planned.notes[:2] == (
        "ignored here, because they only apply to clusters: gpu-type, cpus, time, nodes, workdir, slurm",
        "fit has 5 tasks: this is task 0",
    )
    assert "HPCDEPLOY_TASK=0" in planned.command.program


def test_inputs_that_would_change_the_working_folder_are_named() -> None:
    inputs = (Input(source="a", destination="in/a"), Input(source="b", destination="/b"))
    assert plan(job(inputs=inputs)).notes[0] == "not copied into the working folder: in/a"


@pytest.mark.parametrize(("command", "placed"), [(("true",), True), ((), False)])
def test_an_images_own_command_stays_in_its_own_folder(command: tuple[str, ...], placed: bool) -> None:
    planned = plan(job(command=command), DOCKER)
    assert ("--workdir" in planned.command.argv) is placed
    assert 'type=bind,"source=/home/me","target=/home/me"' in planned.command.argv


def test_an_instance_of_a_job_says_that_its_command_is_not_run() -> None:
    situation = Situation(folder=Path("/home/me"), environment={}, machine=DOCKER, fresh="/tmp/fresh")
    wanted = Wanted(job=job(), of_project=True)
    planned = plan_instance(wanted, REGISTRY, Choices(gpu=False), situation, "web", ("serve",), Path("/state/web"))
    assert "hpcdeploy run instance://web" in planned.notes[0]
    assert planned.command.argv[-2:] == ("docker.io/library/python:3.12", "serve")
