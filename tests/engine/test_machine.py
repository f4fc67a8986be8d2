import pytest

from hpcdeploy.engine.contract import Engine
from hpcdeploy.engine.machine import AUTO, Machine, choose_engine, choose_gpus, gpus_of
from hpcdeploy.errors import ConfigError, HpcdeployError, MissingProgramError

SIF = "/images/x.sif"
DOCKER = "docker://docker.io/library/python:3.12"


def machine(*programs: str, devices: tuple[str, ...] = (), cdi: bool = False) -> Machine:
    return Machine(programs={name: f"/usr/bin/{name}" for name in programs}, devices=frozenset(devices), cdi=cdi)


@pytest.mark.parametrize(
    ("programs", "image", "asked", "chosen"),
    [
        (("docker", "singularity", "apptainer"), SIF, AUTO, "apptainer"),
        (("docker", "singularity"), SIF, AUTO, "singularity"),
        (("docker", "podman", "apptainer"), DOCKER, AUTO, "apptainer"),
        (("docker", "podman"), DOCKER, AUTO, "podman"),
        (("docker",), DOCKER, AUTO, "docker"),
        (("docker", "apptainer"), DOCKER, "docker", "docker"),
    ],
)
def test_the_best_engine_runs_an_image_unless_one_is_asked_for(
    programs: tuple[str, ...], image: str, asked: str, chosen: str
) -> None:
    engine = choose_engine(asked, image, machine(*programs))
    assert (engine.name, engine.program) == (chosen, f"/usr/bin/{chosen}")


@pytest.mark.parametrize(
    ("programs", "image", "asked", "error", "said"),
    [
        (("docker", "podman"), SIF, AUTO, MissingProgramError, "docker and podman cannot run a .sif"),
        ((), DOCKER, AUTO, MissingProgramError, "apptainer or singularity or podman or docker"),
        (("docker",), SIF, "docker", ConfigError, "Apptainer's image format"),
        (("docker",), DOCKER, "podman", MissingProgramError, "podman is not on this machine's PATH"),
        (("docker",), DOCKER, "rkt", ConfigError, "expected auto"),
    ],
)
def test_what_no_engine_can_run_is_refused_with_the_reason(
    programs: tuple[str, ...], image: str, asked: str, error: type[HpcdeployError], said: str
) -> None:
    with pytest.raises(error, match=said):
        choose_engine(asked, image, machine(*programs))


@pytest.mark.parametrize(
    ("there", "gpus"),
    [
        (machine(devices=("nvidiactl", "nvidia0")), "nvidia"),
        (machine(devices=("nvidia7",)), "nvidia"),
        (machine("nvidia-smi"), "nvidia"),
        (machine("nvidia-smi", devices=("kfd", "dri")), "amd"),
        (machine(devices=("kfd", "dri", "nvidiactl")), "nvidia"),
        (machine(devices=("kfd", "dri")), "amd"),
        (machine(devices=("nvidia-caps", "nvram", "dri")), ""),
        (machine("docker"), ""),
    ],
)
def test_gpus_are_told_by_what_their_drivers_make(there: Machine, gpus: str) -> None:
    assert gpus_of(there) == gpus


@pytest.mark.parametrize(
    ("wanted", "devices", "given"),
    [
        (None, ("nvidiactl",), "nvidia"),
        (False, ("nvidiactl",), ""),
        (True, (), "nvidia"),
        (True, ("kfd",), "amd"),
        (None, (), ""),
    ],
)
def test_gpus_are_handed_in_where_there_are_some_or_somebody_insists(
    wanted: bool | None, devices: tuple[str, ...], given: str
) -> None:
    engine = Engine(name="apptainer", program="apptainer")
    assert choose_gpus(wanted, engine, machine(devices=devices)) == given


def test_podman_needs_a_description_of_the_gpus() -> None:
    engine = Engine(name="podman", program="podman")
    with pytest.raises(MissingProgramError, match="nvidia-ctk cdi generate"):
        choose_gpus(None, engine, machine(devices=("nvidiactl",)))
    assert choose_gpus(None, engine, machine(devices=("nvidiactl",), cdi=True)) == "nvidia"
    assert choose_gpus(None, engine, machine(devices=("kfd",))) == "amd"
