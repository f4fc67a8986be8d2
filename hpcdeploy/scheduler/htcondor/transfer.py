"""Add the files that HTCondor transfers to and from a worker to a job's submit commands."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

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
    """Return submit commands that transfer the outputs which ``login_templates/gather.sh`` has gathered.

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
