"""Write the commands of a submit description (condor_submit(1))."""

from collections.abc import Iterable

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.gres import asking_commands
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job, ResourceFields, SchedulingFields
from hpcdeploy.job_field import settings_of

Command = tuple[str, str]
"""A line of a submit description: the name to the left of ``=`` and the value to the right."""


def lines(chosen: Iterable[Command]) -> str:
    """Return submit commands as the lines of a submit description."""
    return "\n".join(f"{name} = {value}" for name, value in chosen)


def one_line(name: str, value: str) -> str:
    """Return `value` unchanged if it fits on the line of the command `name`.

    Raises:
        ConfigError: It contains a line break or a NUL.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(
            f"{name} = {value!r} cannot be written in a submit description: it contains a line break; remove it"
        )
    return value


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


_HAS_SINGULARITY = "(TARGET.HasSingularity =?= true || TARGET.HAS_SINGULARITY =?= true)"
"""Attributes of workers that can start containers: HTCondor's own, and the one of OSPool's pilots."""


def refuse_binds(job: Job, cluster: Cluster) -> None:
    """Check that a job has no binds if HTCondor itself starts the container, because it accepts none from jobs.

    Raises:
        ConfigError: The job or the cluster has binds.
    """
    if cluster.htcondor_container == "apptainer" or not (job.binds or cluster.binds):
        return
    who = f"job {job.name!r}" if job.binds else f"cluster {cluster.name!r}"
    raise ConfigError(
        f"{who} has binds: if HTCondor starts the container, only the site can bind folders. Use file transfer "
        '(htcondor = { transfer_input_files = "..." }). Or set htcondor-container = "apptainer" for the cluster if the '
        "workers see the cluster's folders and jobs may start Apptainer"
    )


def refuse_vendor(job: Job, cluster: Cluster) -> None:
    """Check that a job with AMD GPUs starts Apptainer itself: a job cannot make HTCondor add ``--rocm``.

    HTCondor adds ``--nv`` for every job with GPUs. From 25.8.2 on it adds ``--rocm`` too, unless the site forbids it
    (``SINGULARITY_ADD_ROCM_FLAG``). From 25.14.0 on it adds the flag of the GPUs that it detects (its manual, "Version
    History"). A submit description has no command for any of this (condor_submit(1)).

    Raises:
        ConfigError: HTCondor starts the container, the job requests GPUs, and the cluster's GPUs are AMD's.
    """
    if cluster.gpu_vendor != "amd" or cluster.htcondor_container == "apptainer" or not asks_for_gpus(job):
        return
    raise ConfigError(
        f'job {job.name!r} requests GPUs, and cluster {cluster.name!r} has gpu-vendor = "amd": if HTCondor starts the '
        'container, a job cannot pass --rocm. Set htcondor-container = "apptainer" for the cluster if the workers see the '
        "cluster's folders and jobs may start Apptainer. Or remove gpu-vendor if HTCondor is 25.14 or later, which detects "
        "AMD GPUs itself"
    )


def container_commands(cluster: Cluster) -> list[Command]:
    """Return the commands that `+SingularityImage` requires.

    The image is transferred as an input file. Workers without Singularity are excluded, because they would start the
    program outside of a container.
    """
    if cluster.htcondor_container != "singularity-image":
        return []
    return [("transfer_input_files", "$(sandbox)"), ("requirements", _HAS_SINGULARITY)]


OUT_OF_TIME = "HoldReasonCode =?= 46 || HoldReasonCode =?= 47"
"""True for the hold codes of allowed_job_duration and allowed_execute_duration (HTCondor's manual, HoldReasonCode)."""

WORTH_A_RELEASE = (13, 19, 45, 48)
"""Hold codes of errors before the program started, on the way to a worker or on one worker.

Code 13: input files could not be transferred. Codes 19 and 48: a hook that prepares jobs failed; OSPool downloads images in
one. Code 45: the worker's Apptainer failed its test. A hold by a user (1) is never released, nor is a hold that the
job itself caused.
"""

_MOST_HOLDS = 4


def policy_commands(job: Job) -> list[Command]:
    """Return the commands that make HTCondor end `job` at its time limit, and release it from some holds.

    HTCondor holds a job at its time limit and keeps it forever; Slurm ends it. These commands make both end it, and the
    event log keeps the reason. A release follows 1, 4, 9 and 16 minutes after the first, second, third and fourth hold. A
    user's own ``periodic_remove`` is combined with this one; a user's own ``periodic_release`` replaces this one.
    """
    free = {name.lower(): value for name, value in job.htcondor}
    chosen: list[Command] = []
    if job.resources.time:
        chosen.append(("allowed_execute_duration", str(job.resources.time)))
    if job.resources.time or {"allowed_execute_duration", "allowed_job_duration"} & free.keys():
        chosen.append(("periodic_remove", f"JobStatus == 5 && ({OUT_OF_TIME})"))
    if "periodic_release" not in free:
        codes = ", ".join(map(str, WORTH_A_RELEASE))
        waited = "time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds"
        chosen.append(("periodic_release", f"member(HoldReasonCode, {{{codes}}}) && NumHolds <= {_MOST_HOLDS} && {waited}"))
    return chosen


UNSUPPORTED = {
    "partition": "HTCondor has no partitions",
    "qos": "HTCondor has no quality of service",
    "constraint": "HTCondor has no node features",
    "gpu_type": "HTCondor selects GPUs by capability (gpu-memory, gpu-capability, gpu-runtime)",
    "tasks_per_node": "it starts one process for a job; use an array",
    "launcher": "it starts one process for a job",
    "mpi": "it starts one process for a job",
}
"""Why HTCondor does not support a setting that is declared for Slurm only."""

_ONLY_SLURM = "only Slurm supports it"


def refuse_shapes(job: Job) -> None:
    """Check that the job uses no layout of tasks that HTCondor does not support; no setting is ignored silently.

    Raises:
        ConfigError: The job uses one.
    """
    for setting in settings_of(SchedulingFields):
        if setting.only == "slurm" and getattr(job, setting.field) is not None:
            why = UNSUPPORTED.get(setting.field, _ONLY_SLURM)
            raise ConfigError(
                f"job {job.name!r} has the key {setting.key}, which HTCondor does not support: {why}; remove it here"
            )


def _refuse_requests(job: Job) -> None:
    """Check that the job requests nothing that HTCondor does not support; no setting is ignored silently.

    Raises:
        ConfigError: The job requests such a thing.
    """
    wanted = job.resources
    for setting in settings_of(ResourceFields):
        value = getattr(wanted, setting.field)
        if setting.only == "slurm" and value and setting.field != "nodes":
            why = UNSUPPORTED.get(setting.field, _ONLY_SLURM)
            advice = 'remove it here, or use htcondor = { ... }, for example { require_gpus = "..." }'
            raise ConfigError(f"job {job.name!r} requests {setting.key} = {value!r}: {why}; {advice}")
    if wanted.nodes > 1:
        raise ConfigError(f"job {job.name!r} requests {wanted.nodes} nodes: HTCondor starts a container on one node")


def retry_commands(job: Job) -> list[Command]:
    """Return the commands for how often, and after which exit codes, HTCondor restarts `job`.

    A job leaves the queue after its last allowed restart, after exit code 0, or after an exit code that is not listed. A
    program that was killed by a signal counts as 128 + signal, as everywhere in hpcdeploy: its ``ExitCode`` is undefined,
    and HTCondor holds a job with an undefined policy. HTCondor itself restarts jobs after the loss of a machine. If that is
    not wanted, a job that was started and did not end matches no machine any more, and is removed.
    """
    chosen: list[Command] = []
    if job.retries:
        chosen.append(("max_retries", str(job.retries.max)))
        if job.retries.exit_codes:
            codes = ", ".join(map(str, job.retries.exit_codes))
            code = "ifThenElse(ExitBySignal, 128 + ExitSignal, ExitCode)"
            chosen.append(("retry_until", f"!member({code}, {{{codes}}})"))
    if job.requeue is False:
        lost = "(MY.NumJobStarts ?: 0) > (MY.NumJobCompletions ?: 0)"
        chosen += [("requirements", f"!({lost})"), ("periodic_remove", f"JobStatus == 1 && {lost}")]
    return chosen


def warning_of(job: Job) -> tuple[str, int] | None:
    """Return the signal that warns `job` of its time limit, and after how many seconds it is sent; None without a signal.

    Raises:
        ConfigError: There is no time limit to warn of, or it is too short; HTCondor has no time limit of its own.
    """
    if job.signal is None:
        return None
    after = (job.resources.time or 0) - job.signal.before
    if after <= 0:
        limit = f"a time limit of {job.resources.time} s" if job.resources.time else "no time limit"
        raise ConfigError(
            f"job {job.name!r} has a signal {job.signal.before} s before its time limit, and the limit is {limit}; "
            "set a longer time"
        )
    return job.signal.name, after


_INPUTS = "$(run_folder)/inputs/"
"""The slash at its end means the folder's content, with names and folders unchanged (condor_submit(1))."""

_OUTPUTS = ".hpcdeploy-outputs/"
"""The same for outputs: its content is transferred to the run's folder unchanged."""


def notes_begin(job: Job, cluster: Cluster) -> bool:
    """Tell whether the program's start is recorded in a file that HTCondor transfers into the run's own folder.

    By default HTCondor transfers all new files in the job's folder (condor_submit(1), transfer_output_files). If a list
    names them, a missing file holds the job, so nothing is added to such a list. With ``outputs``, a program that never
    started leaves no `_OUTPUTS` folder, and the job is held too. A job that starts Apptainer itself sees the start (job.sh).
    """
    return sends_all(job, cluster) and not any(name.lower() == "transfer_output_remaps" for name, _ in job.htcondor)


def with_inputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return submit commands in which the job's uploads are added to the transferred input files."""
    if cluster.htcondor_container == "apptainer" or not (job.code or job.inputs):
        return lines
    present = [value for name, value in lines if name.lower() == "transfer_input_files"]
    others = [(name, value) for name, value in lines if name.lower() != "transfer_input_files"]
    return [*others, ("transfer_input_files", ", ".join([*present, _INPUTS]))]


def with_outputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return submit commands that transfer the outputs which ``login/job/gather.sh`` has gathered.

    HTCondor's own list accepts no patterns, and HTCondor holds a job that lacks a listed file (HoldReasonCode 12).
    """
    if cluster.htcondor_container == "apptainer" or not job.outputs:
        return lines
    return [*lines, ("transfer_output_files", _OUTPUTS)]


def sends_all(job: Job, cluster: Cluster) -> bool:
    """Tell whether HTCondor chooses the output files itself: all new files, because there is no list (condor_submit(1))."""
    return (
        cluster.htcondor_container != "apptainer"
        and not job.outputs
        and not any(name.lower() == "transfer_output_files" for name, _ in job.htcondor)
    )


_AHEAD = 1000
"""Number of tasks that the schedd creates in advance if there are more (condor_submit(1), max_idle).

condor_submit then sends a table instead of every single job: 10,000 jobs took 0.03 s instead of 3.7 s. If the schedd
created all at once, it did not answer any other request in the meantime (HTCondor 23.9).
"""


def commands(job: Job, cluster: Cluster, run_id: str) -> list[Command]:
    """Return the submit commands of `job`, the user's own last (the later of two wins, condor_submit(1)).

    Raises:
        ConfigError: HTCondor does not support a setting of the job; no setting is ignored silently.
    """
    wanted = job.resources
    _refuse_requests(job)
    refuse_binds(job, cluster)
    refuse_vendor(job, cluster)
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
