"""Write the commands of a submit description (condor_submit(1))."""

from collections.abc import Iterable

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.gres import gpu_submit_commands
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job, ResourceFields, SchedulingFields
from hpcdeploy.job_field import settings_of

Command = tuple[str, str]
"""A command (one line) of a submit description: the name to the left of ``=``, and the value to the right."""


def lines(chosen: Iterable[Command]) -> str:
    """Return submit commands as the lines of a submit description."""
    return "\n".join(f"{name} = {value}" for name, value in chosen)


def one_line(name: str, value: str) -> str:
    """Return `value` unchanged if it fits on the line of the command `name`.

    Raises:
        ConfigError: `value` contains a line break or a NUL.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(
            f"{name} = {value!r} cannot be written in a submit description: it contains a line break or a NUL; remove it"
        )
    return value


_GIVEN_BY_HTCONDOR = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def requests_gpus(job: Job) -> bool:
    """Tell whether `job` requests GPUs: with the key ``gpus``, with ``request_gpus``, or with a site's own command."""
    return bool(job.resources.gpus or gpu_submit_commands(job.htcondor))


def gpu_commands(job: Job) -> list[Command]:
    """Return the commands for the GPUs of `job`.

    A job may have both requirements in its keys and ``require_gpus``, because HTCondor combines them (condor_submit(1)).

    Raises:
        ConfigError: The job has requirements for GPUs without ``request_gpus``, so that HTCondor would ignore them. Or it
            sets a variable with which HTCondor tells a job its GPUs.
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
"""Expression that is true for workers that can start containers.

HTCondor sets the first attribute, and pilots of OSPool set the second.
"""


def refuse_binds(job: Job, cluster: Cluster) -> None:
    """Check that a job has no binds if HTCondor itself starts the container, because HTCondor accepts no binds from jobs.

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
    """Check that HTCondor does not start the container of a job with AMD GPUs, because a job cannot request ``--rocm``.

    Which option HTCondor passes to Apptainer for a job with GPUs depends on its release (its manual, "Version History"):

    - every release passes ``--nv``
    - from 25.8.2 on also ``--rocm``, unless the site forbids it (``SINGULARITY_ADD_ROCM_FLAG``)
    - from 25.14.0 on the option for the GPUs that HTCondor detects

    A submit description has no command that changes this (condor_submit(1)).

    Raises:
        ConfigError: HTCondor starts the container, the job requests GPUs, and the cluster's GPUs are AMD's.
    """
    if cluster.gpu_vendor != "amd" or cluster.htcondor_container == "apptainer" or not requests_gpus(job):
        return
    raise ConfigError(
        f'job {job.name!r} requests GPUs, and cluster {cluster.name!r} has gpu-vendor = "amd": if HTCondor starts the '
        'container, a job cannot pass --rocm. Set htcondor-container = "apptainer" for the cluster if the workers see the '
        "cluster's folders and jobs may start Apptainer. Or remove gpu-vendor if HTCondor is 25.14 or later, which detects "
        "AMD GPUs itself"
    )


def container_commands(cluster: Cluster) -> list[Command]:
    """Return the commands that `+SingularityImage` requires.

    The image is transferred as an input file. Workers without Singularity are excluded, because such a worker would start
    the program outside of a container.
    """
    if cluster.htcondor_container != "singularity-image":
        return []
    return [("transfer_input_files", "$(sandbox)"), ("requirements", _HAS_SINGULARITY)]


OUT_OF_TIME = "HoldReasonCode =?= 46 || HoldReasonCode =?= 47"
"""Expression that is true for the hold codes of the two time limits (HTCondor's manual, HoldReasonCode).

The limits are allowed_job_duration and allowed_execute_duration.
"""

WORTH_A_RELEASE = (13, 19, 45, 48)
"""Hold codes of errors that occur before the program starts, and that another worker or a later attempt may not have.

- 13: The input files could not be transferred.
- 19, 48: A hook that prepares jobs failed. OSPool downloads images in such a hook.
- 45: The worker's own test of Apptainer failed.

A hold by a user (1) and a hold that the job itself caused are not in this list, so they are not released automatically.
"""

_MOST_HOLDS = 4
"""Maximum number of automatic releases of a job. The last one is 16 minutes after the fourth hold."""


def policy_commands(job: Job) -> list[Command]:
    """Return the commands that make HTCondor end `job` at its time limit, and release it from some holds.

    HTCondor holds a job at its time limit, so the job stays in the queue. The commands remove the job, so that it ends as
    with Slurm. The event log keeps the reason. The job is released 1, 4, 9 and 16 minutes after its first, second, third and
    fourth hold, if the hold code is in `WORTH_A_RELEASE`. ``periodic_remove`` is combined with the user's own
    ``periodic_remove``. The user's own ``periodic_release`` replaces the one here.
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
    "tasks_per_node": "HTCondor starts one process for a job; use an array",
    "launcher": "HTCondor starts one process for a job",
    "mpi": "HTCondor starts one process for a job",
}
"""The reason why HTCondor does not support a setting that is declared for Slurm only, by the setting's field."""

_ONLY_SLURM = "only Slurm supports it"


def refuse_shapes(job: Job) -> None:
    """Check that the job has no key for scheduling that only Slurm supports, because it would be ignored silently.

    Raises:
        ConfigError: The job has such a key.
    """
    for setting in settings_of(SchedulingFields):
        if setting.only == "slurm" and getattr(job, setting.field) is not None:
            why = UNSUPPORTED.get(setting.field, _ONLY_SLURM)
            raise ConfigError(
                f"job {job.name!r} has the key {setting.key}, which HTCondor does not support: {why}; remove it here"
            )


def _refuse_requests(job: Job) -> None:
    """Check that the job requests no resource that only Slurm supports, because the request would be ignored silently.

    Raises:
        ConfigError: The job requests such a resource, or more than one node.
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

    A job leaves the queue after its last allowed restart, after exit code 0, or after an exit code that is not listed.

    If a signal killed the program, the exit code is 128 + signal, as everywhere in hpcdeploy. The expression computes this
    code, because ``ExitCode`` is then undefined, and HTCondor holds a job whose policy is undefined.

    HTCondor itself restarts a job after the loss of its machine. With ``requeue = false``, two expressions prevent this: a
    job that was started but has not ended matches no machine, and is removed from the queue.
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
        ConfigError: The job has a signal, but no time limit, or a time limit that is not longer than the warning time.
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
"""The folder of uploads, as an input to transfer. The slash at the end means that HTCondor transfers the folder's content
and not the folder itself, with names and subfolders unchanged (condor_submit(1))."""

_OUTPUTS = ".hpcdeploy-outputs/"
"""The folder in which outputs are gathered, as an output to transfer. Because of the slash at the end, its content is
transferred into the run's folder, with names and subfolders unchanged."""


def notes_begin(job: Job, cluster: Cluster) -> bool:
    """Tell whether the program's start is recorded in a file that HTCondor transfers into the run's own folder.

    - Without a list of output files, HTCondor transfers all new files in the job's folder, so this file too
      (condor_submit(1), transfer_output_files).
    - With a list, the file is not used: HTCondor holds a job that lacks a listed file.
    - With ``outputs``, the file is not needed: without a start there is no `_OUTPUTS` folder, so HTCondor holds the job.
    - If the job starts Apptainer itself, the file is not needed, because ``job.sh`` sees whether the program started.
    """
    return sends_all(job, cluster) and not any(name.lower() == "transfer_output_remaps" for name, _ in job.htcondor)


def with_inputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return `lines` with the job's uploads added to ``transfer_input_files``; unchanged if the job has none."""
    if cluster.htcondor_container == "apptainer" or not (job.code or job.inputs):
        return lines
    present = [value for name, value in lines if name.lower() == "transfer_input_files"]
    others = [(name, value) for name, value in lines if name.lower() != "transfer_input_files"]
    return [*others, ("transfer_input_files", ", ".join([*present, _INPUTS]))]


def with_outputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return `lines` with a command that transfers the folder of gathered outputs; unchanged if the job has no outputs.

    ``login/job/gather.sh`` gathers the outputs, for two reasons. ``transfer_output_files`` accepts no patterns. And HTCondor
    holds a job that lacks a listed file (HoldReasonCode 12).
    """
    if cluster.htcondor_container == "apptainer" or not job.outputs:
        return lines
    return [*lines, ("transfer_output_files", _OUTPUTS)]


def sends_all(job: Job, cluster: Cluster) -> bool:
    """Tell whether HTCondor transfers all new files as outputs, because nothing lists them (condor_submit(1))."""
    return (
        cluster.htcondor_container != "apptainer"
        and not job.outputs
        and not any(name.lower() == "transfer_output_files" for name, _ in job.htcondor)
    )


_AHEAD = 1000
"""Maximum number of idle tasks that the schedd creates in advance (condor_submit(1), max_idle).

A job with more tasks gets this limit. condor_submit then sends the schedd a table instead of single jobs: with 10,000 jobs
it took 0.03 s instead of 3.7 s. A schedd that created all jobs at once answered no other request meanwhile (HTCondor 23.9).
"""


def commands(job: Job, cluster: Cluster, run_id: str) -> list[Command]:
    """Return the submit commands of `job`.

    The user's own commands are last, because HTCondor uses the last of several values (condor_submit(1)). The values of the
    commands in `_JOINED` are combined.

    Raises:
        ConfigError: HTCondor does not support a setting of the job, or a value is invalid.
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
"""Commands whose values are combined if a job has several, and the text between the values.

Without this, HTCondor would use only the last value.
"""


def _joined(chosen: list[Command]) -> list[Command]:
    """Return each command once: a command in `_JOINED` with all its values, any other command with its last value."""
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
