"""What a scheduler is to the rest: words for a job, and states out of answers. It never runs anything."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Job
from hpcdeploy.run import Run, TaskStatus
from hpcdeploy.scheduler.answers import Answers


class Scheduler(Protocol):
    """The words of one scheduler. The modules `hpcdeploy.scheduler.slurm` and `hpcdeploy.scheduler.htcondor` are such."""

    @property
    def JOB_TEMPLATE(self) -> str:  # noqa: N802 - a constant of the module
        """Name the template, among this scheduler's own, of what the scheduler is handed."""

    @property
    def SECTIONS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """Name the sections that the follow script's answer has in any case."""

    def job_values(self, job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
        """Give what this scheduler's own templates need to write `job`; raises `ConfigError` for what it has no word for."""

    def follow_values(self) -> Mapping[str, object]:
        """Give what this scheduler's part of the follow script needs."""

    def explain(self, status: TaskStatus) -> str:
        """Say why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""

    def states(self, answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
        """Read the follow script's answers: each run's tasks, by run id, every task in its place."""


def scheduler_of(name: SchedulerName) -> Scheduler:
    """Return the scheduler of that name; only its own module is imported."""
    match name:
        case "slurm":
            from hpcdeploy.scheduler import slurm

            return slurm
        case "htcondor":
            from hpcdeploy.scheduler import htcondor

            return htcondor
