"""A job in HTCondor's words: the commands of a submit description."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.containers import container_commands, refuse_binds, refuse_vendor
from hpcdeploy.scheduler.htcondor.gpus import gpu_commands
from hpcdeploy.scheduler.htcondor.policy import policy_commands
from hpcdeploy.scheduler.htcondor.shapes import refuse_shapes, retry_commands
from hpcdeploy.scheduler.htcondor.submit_language import Command, one_line

_AHEAD = 1000
"""Of more tasks than this so many are made ahead, by the schedd itself (condor_submit(1), max_idle): condor_submit then
sends a table and not every single job. 10,000 took 0.03 s so, and 3.7 s otherwise; made all at once by the schedd, they
kept it from answering anybody else (HTCondor 23.9)."""

_NOT_THERE = {
    "partition": "HTCondor has no partitions",
    "qos": "HTCondor has no quality of service",
    "constraint": "HTCondor has no node features",
    "gpu_type": "HTCondor knows a GPU by what it can do (gpu-memory, gpu-capability, gpu-runtime)",
}


def commands(job: Job, cluster: Cluster, run_id: str) -> list[Command]:
    """Say what `job` asks for in submit commands, those of the person last (the later of two wins, condor_submit(1)).

    Raises `ConfigError` for what this scheduler has no word for: it is never left out in silence.
    """
    wanted = job.resources
    for name, why in _NOT_THERE.items():
        if getattr(wanted, name):
            advice = 'leave it out here, or say what you mean in htcondor = { ... }, for example { require_gpus = "..." }'
            raise ConfigError(
                f"job {job.name!r} asks for {name.replace('_', '-')} = {getattr(wanted, name)!r}: {why}; {advice}"
            )
    refuse_binds(job, cluster)
    refuse_vendor(job, cluster)
    if wanted.nodes > 1:
        raise ConfigError(f"job {job.name!r} asks for {wanted.nodes} nodes: HTCondor starts a container on one")
    refuse_shapes(job)
    lines: list[Command] = [("+HpcdeployRun", f'"{run_id}"'), ("batch_name", run_id)]
    lines.append(("request_cpus", str(wanted.cpus or 1)))
    lines += gpu_commands(job)
    if wanted.memory:
        lines.append(("request_memory", f"{wanted.memory}MB"))
    if wanted.disk:
        lines.append(("request_disk", f"{wanted.disk}MB"))
    lines += policy_commands(job)
    if wanted.account:
        lines.append(("accounting_group", one_line("account", wanted.account)))
    if job.array and job.array.throttle:
        lines.append(("max_materialize", str(job.array.throttle)))
    elif job.array and job.array.size > _AHEAD:
        lines.append(("max_idle", str(_AHEAD)))
    lines += retry_commands(job)
    lines += container_commands(cluster)
    return _joined(
        [*lines, *((name, "true" if value is True else one_line(name, str(value))) for name, value in job.htcondor)]
    )


_JOINED = {"requirements": " && ", "periodic_remove": " || ", "transfer_input_files": ", "}
"""Commands that a job may have several reasons for, and how those are joined: of two lines the later would win."""


def _joined(chosen: list[Command]) -> list[Command]:
    """Make one command of those that have several reasons, at the first one's place."""
    said: dict[str, list[str]] = {}
    for name, value in chosen:
        said.setdefault(name.lower(), []).append(value)
    one: dict[str, Command] = {}
    for name, value in chosen:
        word, values = name.lower(), said[name.lower()]
        if word in _JOINED and len(values) > 1:
            parts = values if word == "transfer_input_files" else [f"({part})" for part in values]
            one[word] = (word, _JOINED[word].join(parts))
        else:
            one.pop(word, None)
            one[word] = (name, value)
    return list(one.values())
