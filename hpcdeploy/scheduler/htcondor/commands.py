"""Translate a job into the commands of an HTCondor submit description."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.containers import container_commands, refuse_binds, refuse_vendor
from hpcdeploy.scheduler.htcondor.gpus import gpu_commands
from hpcdeploy.scheduler.htcondor.policy import policy_commands
from hpcdeploy.scheduler.htcondor.shapes import refuse_shapes, retry_commands
from hpcdeploy.scheduler.htcondor.submit_language import Command, one_line

_AHEAD = 1000
"""Number of tasks that the schedd creates in advance if there are more (condor_submit(1), max_idle).

condor_submit then sends a table instead of every single job: 10,000 jobs took 0.03 s instead of 3.7 s. If the schedd
created all at once, it did not answer any other request in the meantime (HTCondor 23.9).
"""

_UNSUPPORTED = {
    "partition": "HTCondor has no partitions",
    "qos": "HTCondor has no quality of service",
    "constraint": "HTCondor has no node features",
    "gpu_type": "HTCondor selects GPUs by capability (gpu-memory, gpu-capability, gpu-runtime)",
}


def commands(job: Job, cluster: Cluster, run_id: str) -> list[Command]:
    """Return the submit commands of `job`, the user's own last (the later of two wins, condor_submit(1)).

    Raises:
        ConfigError: HTCondor does not support a setting of the job; no setting is ignored silently.
    """
    wanted = job.resources
    for name, why in _UNSUPPORTED.items():
        if getattr(wanted, name):
            advice = 'remove it here, or use htcondor = { ... }, for example { require_gpus = "..." }'
            raise ConfigError(
                f"job {job.name!r} requests {name.replace('_', '-')} = {getattr(wanted, name)!r}: {why}; {advice}"
            )
    refuse_binds(job, cluster)
    refuse_vendor(job, cluster)
    if wanted.nodes > 1:
        raise ConfigError(f"job {job.name!r} requests {wanted.nodes} nodes: HTCondor starts a container on one node")
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
"""Commands to which several settings of a job contribute, and how the values are joined: a second line would win."""


def _joined(chosen: list[Command]) -> list[Command]:
    """Merge repeated commands into one, at the position of the first."""
    collected: dict[str, list[str]] = {}
    for name, value in chosen:
        collected.setdefault(name.lower(), []).append(value)
    one: dict[str, Command] = {}
    for name, value in chosen:
        word, values = name.lower(), collected[name.lower()]
        if word in _JOINED and len(values) > 1:
            parts = values if word == "transfer_input_files" else [f"({part})" for part in values]
            one[word] = (word, _JOINED[word].join(parts))
        else:
            one.pop(word, None)
            one[word] = (name, value)
    return list(one.values())
