"""Translate GPU requests into HTCondor's submit commands: how many GPUs, and their minimum capabilities."""

from hpcdeploy.config.no_gpus import asking_commands
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

_GIVEN_BY_HTCONDOR = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def asks_for_gpus(job: Job) -> bool:
    """Tell whether `job` requests GPUs, by its key or by a submit command (``request_gpus``, or a site's own tag)."""
    return bool(job.resources.gpus or asking_commands(job.htcondor))


def gpu_commands(job: Job) -> list[Command]:
    """Return the commands for the GPUs of `job`.

    HTCondor combines the bounds with the user's own ``require_gpus``, so a job may have both (condor_submit(1)).

    Raises:
        ConfigError: Bounds without ``request_gpus``, which HTCondor would ignore, or a variable that HTCondor sets.
    """
    wanted = job.resources
    least, most = wanted.gpu_capability or ("", "")
    bounds = [
        ("gpus_minimum_capability", least),
        ("gpus_maximum_capability", most),
        ("gpus_minimum_memory", f"{wanted.gpu_memory}MB" if wanted.gpu_memory else ""),
        ("gpus_minimum_runtime", wanted.gpu_runtime or ""),
    ]
    chosen = [(name, value) for name, value in bounds if value]
    free = {name.lower() for name, _ in job.htcondor}
    if (chosen or "require_gpus" in free) and not wanted.gpus and "request_gpus" not in free:
        raise ConfigError(f"job {job.name!r} has requirements for GPUs but requests none; add gpus = 1")
    for name, _ in job.environment:
        if name in _GIVEN_BY_HTCONDOR:
            raise ConfigError(
                f"job {job.name!r} sets {name}: HTCondor sets it to the job's own GPUs, "
                "possibly by their UUIDs; remove it, and request GPUs with the key gpus"
            )
    return [*([("request_gpus", str(wanted.gpus))] if wanted.gpus else []), *chosen]
