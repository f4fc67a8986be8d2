"""HTCondor: the words of `hpcdeploy.scheduler.contract.Scheduler`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job
from hpcdeploy.run import TERMINAL, Run, State, TaskStatus
from hpcdeploy.scheduler.answers import Answers
from hpcdeploy.scheduler.htcondor import answers as htcondor_answers
from hpcdeploy.scheduler.htcondor import reasons
from hpcdeploy.scheduler.htcondor.commands import commands
from hpcdeploy.scheduler.htcondor.shapes import warning_of
from hpcdeploy.scheduler.htcondor.submit_language import lines
from hpcdeploy.scheduler.htcondor.transfer import with_inputs, with_outputs

JOB_TEMPLATE = "job.sub"


def job_values(job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
    """Give what ``htcondor_templates/`` needs to write `job`."""
    return {
        "commands": lines(with_outputs(with_inputs(commands(job, cluster, run_id), job, cluster), job, cluster)),
        "container": cluster.htcondor_container,
        "in_parts": False,
        "warning": warning_of(job),
    }


def follow_values() -> Mapping[str, object]:
    """Give what ``htcondor_templates/follow.sh`` needs."""
    return {"attributes": htcondor_answers.ATTRIBUTES}


def explain(status: TaskStatus) -> str:
    """Say why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""
    return reasons.explain(status)


def states(answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
    """Tell each run's tasks from condor_q and from the runs' own event logs, which outlast the queue."""
    queue = answers.get("condor_q")
    asked = queue is not None and queue.exit_code == 0
    queued = htcondor_answers.read_queue(queue.text) if asked and queue else {}
    logged = htcondor_answers.read_log(answers["events"].text if "events" in answers else "")
    told: dict[str, tuple[TaskStatus, ...]] = {}
    for run in runs:
        live = {status.task: status for status in queued.get(run.job_id, [])}
        noted = {status.task: status for status in logged.get(run.job_id, [])}
        told[run.id] = tuple(
            _judge(task, live.get(task), noted.get(task, _not_made(task, noted)), asked=asked, factory=bool(live))
            for task in range(run.tasks)
        )
    return told


def _not_made(task: int, noted: Mapping[int, TaskStatus]) -> TaskStatus | None:
    """Tell of a task that HTCondor has not made yet, for want of room (condor_submit(1), max_materialize), or never will."""
    cluster = noted.get(htcondor_answers.CLUSTER)
    return replace(cluster, task=task) if cluster else None


def _judge(task: int, live: TaskStatus | None, noted: TaskStatus | None, *, asked: bool, factory: bool) -> TaskStatus:
    """Weigh the two witnesses: an end in the log is an end; else the queue; else nobody knows."""
    if noted and noted.state in TERMINAL:
        return noted
    if live:
        return live if live.node or not noted else replace(live, node=noted.node)
    if asked and (noted.word == "UNMATERIALIZED" if noted else factory):
        return TaskStatus(task=task, state=State.PENDING, word="UNMATERIALIZED")
    why = "gone from the queue, and the event log tells no end" if asked else "condor_q could not be asked"
    return TaskStatus(task=task, state=State.UNKNOWN, word=noted.word if noted else "", reason=why)
