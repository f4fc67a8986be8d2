"""Slurm: an implementation of `hpcdeploy.scheduler.contract.Scheduler`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.gres import has_whole_nodes, requests_gpus
from hpcdeploy.gpus import handing
from hpcdeploy.job import Job
from hpcdeploy.run import LOST, TERMINAL, UNREAD, Run, State, TaskStatus, numbered
from hpcdeploy.scheduler.contract import NO_ROWS, Answers, Rows
from hpcdeploy.scheduler.slurm import queries as queries
from hpcdeploy.scheduler.slurm import reasons
from hpcdeploy.scheduler.slurm.directives import directives, lines, shape_values
from hpcdeploy.scheduler.slurm.queries import Record, complete, read_exit_codes, read_records

JOB_TEMPLATE = "job.sh"

SECTIONS = ("squeue", "records")


def job_values(job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
    """Return the values for ``slurm_templates/``.

    Raises:
        ConfigError: Slurm does not support a setting of the job.
    """
    return {
        "directives": lines(directives(job, cluster, run_id)),
        "log_name": "%a" if job.array else "0",
        "is_array": job.array is not None,
        "throttle": job.array.throttle if job.array else 0,
        "dependency": str(dict(job.slurm).get("dependency", "")),
        "gpus": handing(
            cluster.gpu_vendor,
            asked=bool(job.resources.gpus) or requests_gpus(job.slurm),
            whole_nodes=job.resources.gpus is None and has_whole_nodes(job.slurm),
        ),
        **shape_values(job, (*cluster.binds, *job.binds)),
    }


def follow_values() -> Mapping[str, str]:
    """Return the values for ``login/slurm/follow.sh``."""
    return {"queue_format": queries.FORMAT, "accounting_format": queries.ACCOUNTING_FORMAT}


def explain(status: TaskStatus) -> str:
    """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""
    return reasons.explain(status)


def states(answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
    """Return the states of each run's tasks from squeue, from sacct if available, and from the tasks' own records.

    If a row is malformed, a task becomes unknown only if no other source has a state of the task. The reason of the task
    then shows the row.
    """
    queue = answers.get("squeue")
    answered = queue is not None and queue.exit_code == 0
    sizes = {part.job_id: part.tasks for run in runs for part in run.parts}
    queued = queries.read_queue(queue.text, sizes) if answered and queue else NO_ROWS
    in_queue = _by_task(queued)
    accounting = answers.get("sacct")
    names = {part.job_id: (part.name, run.id) for run in runs for part in run.parts}
    output = accounting.text if accounting and not accounting.exit_code else ""
    exact = read_exit_codes(answers["sacct_json"].text) if "sacct_json" in answers else None
    accounted = queries.read_accounting(output, names, exact, sizes)
    in_accounting = _by_task(accounted)
    records = read_records(answers["records"].text if "records" in answers else "")
    nothing = Record()
    return {
        run.id: tuple(
            numbered(
                _combine(
                    task,
                    _Sources(
                        in_queue.get((part.job_id, task)),
                        in_accounting.get((part.job_id, task)),
                        records.get((run.id, part.first + task), nothing),
                        queued.unread_of(part.job_id) or accounted.unread_of(part.job_id),
                    ),
                    answered=answered,
                    accounting_failed=bool(accounting and accounting.exit_code),
                    cancelled=(run.id, None) in records,
                ),
                part.first + task,
            )
            for part in run.parts
            for task in range(part.tasks)
        )
        for run in runs
    }


def _by_task(rows: Rows) -> dict[tuple[str, int], TaskStatus]:
    return {(job_id, status.task): status for job_id, statuses in rows.found.items() for status in statuses}


class _Sources(NamedTuple):
    """The state of one task in each source.

    Attributes:
        queued: The task's state in squeue; None if squeue does not list it.
        accounted: The task's state in sacct; None if sacct does not list it.
        record: The task's own record; empty if it wrote none.
        unread: A malformed row of squeue or sacct that may belong to the task; empty if there is none.
    """

    queued: TaskStatus | None
    accounted: TaskStatus | None
    record: Record
    unread: str


def _combine(task: int, sources: _Sources, *, answered: bool, accounting_failed: bool, cancelled: bool) -> TaskStatus:
    """Combine the sources of a task.

    If squeue shows a job that has not finished, its state is used. Otherwise a final state is used: sacct's, else squeue's,
    else the one in the task's own record.

    Args:
        task: The number of the task in its job.
        sources: The task's state in each source.
        answered: The query of squeue succeeded.
        accounting_failed: The query of sacct failed.
        cancelled: A record shows that hpcdeploy cancelled the run.
    """
    queued, accounted, record, unread = sources
    if queued and queued.state not in TERMINAL:
        return queued
    ended = accounted if accounted and accounted.state in TERMINAL else queued
    if ended:
        # The reason is taken from squeue, which shows it while slurmctld remembers the job; sacct does not store reasons.
        if queued and queued.state is ended.state and queued.reason:
            ended = replace(ended, reason=queued.reason)
        return complete(ended, record)
    # If sacct has the job as unfinished, a recorded end may belong to an attempt before a requeue. It is then used only if
    # squeue was read completely, because squeue would show the new attempt.
    if record.exit_code is not None and ((answered and not unread) or not accounted):
        bad = State.CANCELLED if cancelled else State.FAILED
        state = bad if record.exit_code else State.COMPLETED
        return complete(TaskStatus(task=task, state=state, word=state.value, exit_code=record.exit_code), record)
    if accounted:
        return accounted
    if not answered:
        why = "squeue could not be queried"
    elif unread:
        why = f"{UNREAD}{unread}"
    elif cancelled:
        return TaskStatus(task=task, state=State.CANCELLED, word="CANCELLED", started=record.started, node=record.node)
    elif accounting_failed:
        why = "no longer in the queue, and sacct could not be queried"
    else:
        why = LOST
    return TaskStatus(task=task, state=State.UNKNOWN, reason=why, started=record.started, node=record.node)
