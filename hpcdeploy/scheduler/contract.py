"""The interface of a scheduler: template values for a job, and states from command output. It never runs a program."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Job
from hpcdeploy.run import Run, TaskStatus
from hpcdeploy.scheduler.answers import Answers


class Scheduler(Protocol):
    """Interface of one scheduler, implemented by `hpcdeploy.scheduler.slurm` and `hpcdeploy.scheduler.htcondor`."""

    @property
    def JOB_TEMPLATE(self) -> str:  # noqa: N802 - a constant of the module
        """The name of this scheduler's template for the file that is submitted."""

    @property
    def SECTIONS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """The names of the sections that the follow script always prints."""

    def job_values(self, job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
        """Return the values for this scheduler's own templates.

        Args:
            job: The job.
            cluster: The cluster that runs it.
            run_id: The id of the run.

        Raises:
            ConfigError: The scheduler does not support a setting of the job.
        """

    def follow_values(self) -> Mapping[str, str]:
        """Return the values that only this scheduler's follow script needs."""

    def explain(self, status: TaskStatus) -> str:
        """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""

    def states(self, answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
        """Parse the output of the follow script into the states of each run's tasks, by run id, in the order of the tasks.

        Raises:
            SchedulerError: A section is malformed.
        """


def scheduler_of(name: SchedulerName) -> Scheduler:
    """Return the scheduler of that name, and import only its own module."""
    match name:
        case "slurm":
            from hpcdeploy.scheduler import slurm

            return slurm
        case "htcondor":
            from hpcdeploy.scheduler import htcondor

            return htcondor
