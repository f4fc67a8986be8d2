"""What HTCondor carries to a worker for a job, in its own words."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

_INPUTS = "$(run_folder)/inputs/"
"""With a slash at its end it is the folder's content that is sent, names and folders as they are (condor_submit(1))."""

_OUTPUTS = ".hpcdeploy-outputs/"
"""The same of the way back: its content comes to the run's folder, as it lies there."""


def notes_begin(job: Job, cluster: Cluster) -> bool:
    """Tell whether the program's begin is noted in a file that HTCondor sends back, remapped into the run's own folder.

    HTCondor sends back what is new in the job's folder (condor_submit(1), transfer_output_files). Where a list says what
    comes back, a file of it that is not there holds the job, so that none is added: with ``outputs`` the folder of
    `_OUTPUTS` is missing then, and the job is held. Where the job itself starts Apptainer it sees the begin (job.sh).
    """
    return sends_all(job, cluster) and not any(name.lower() == "transfer_output_remaps" for name, _ in job.htcondor)


def with_inputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return submit commands with what `job` brings along among the files that are sent, beside those already said."""
    if cluster.htcondor_container == "apptainer" or not (job.code or job.inputs):
        return lines
    said = [value for name, value in lines if name.lower() == "transfer_input_files"]
    others = [(name, value) for name, value in lines if name.lower() != "transfer_input_files"]
    return [*others, ("transfer_input_files", ", ".join([*said, _INPUTS]))]


def with_outputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return submit commands that bring home what ``login_templates/gather.sh`` gathers of the job's outputs.

    HTCondor's own list takes no patterns, and holds a job that has not made all that it names (HoldReasonCode 12).
    """
    if cluster.htcondor_container == "apptainer" or not job.outputs:
        return lines
    return [*lines, ("transfer_output_files", _OUTPUTS)]


def sends_all(job: Job, cluster: Cluster) -> bool:
    """Tell whether HTCondor itself chooses what it takes home: every new file, as no list says what (condor_submit(1))."""
    return (
        cluster.htcondor_container != "apptainer"
        and not job.outputs
        and not any(name.lower() == "transfer_output_files" for name, _ in job.htcondor)
    )
