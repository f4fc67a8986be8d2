"""What HTCondor carries to a worker for a job, in its own words."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

_INPUTS = "$(run_folder)/inputs/"
"""With a slash at its end it is the folder's content that is sent, names and folders as they are (condor_submit(1))."""


def with_inputs(lines: list[Command], job: Job, cluster: Cluster) -> list[Command]:
    """Return submit commands with what `job` brings along among the files that are sent, beside those already said."""
    if cluster.htcondor_container == "apptainer" or not (job.code or job.inputs):
        return lines
    said = [value for name, value in lines if name.lower() == "transfer_input_files"]
    others = [(name, value) for name, value in lines if name.lower() != "transfer_input_files"]
    return [*others, ("transfer_input_files", ", ".join([*said, _INPUTS]))]
