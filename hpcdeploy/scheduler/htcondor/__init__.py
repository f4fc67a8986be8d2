"""HTCondor: an implementation of `hpcdeploy.scheduler.contract.Scheduler`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcdeploy.checked_values import whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.gpus import handing
from hpcdeploy.job import Job
from hpcdeploy.run import LOST, NEVER_BEGAN, TERMINAL, UNREAD, Run, State, TaskStatus, numbered
from hpcdeploy.scheduler.contract import NO_ROWS, Answers
from hpcdeploy.scheduler.htcondor import reasons
from hpcdeploy.scheduler.htcondor.event_log import read_log
from hpcdeploy.scheduler.htcondor.queries import ATTRIBUTES, CLUSTER, HISTORY_ATTRIBUTES, NEVER, read_history, read_queue
from hpcdeploy.scheduler.htcondor.submit_description import (
    commands,
    lines,
    notes_begin,
    requests_gpus,
    sends_all,
    warning_of,
    with_inputs,
    with_outputs,
)

JOB_TEMPLATE = "job.sub"

SECTIONS = ("condor_q", "events")


def job_values(job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
    """Return the values for ``htcondor_templates/``.

    Raises:
        ConfigError: HTCondor does not support a setting of the job.
    """
    return {
        "commands": lines(with_outputs(with_inputs(commands(job, cluster, run_id), job, cluster), job, cluster)),
        "container": cluster.htcondor_container,
        "notes_begin": notes_begin(job, cluster),
        "gpus": handing(cluster.gpu_vendor, asked=requests_gpus(job)),
        "sends_all": sends_all(job, cluster),
        "warning": warning_of(job),
    }


def follow_values() -> Mapping[str, str]:
    """Return the values for ``login/htcondor/follow.sh``."""
    return {"attributes": ATTRIBUTES, "history_attributes": HISTORY_ATTRIBUTES}


def explain(status: TaskStatus) -> str:
    """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""
    return reasons.explain(status)


def states(answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
    """Return the states of each run's tasks from condor_q, the runs' event logs and condor_history.

    The event logs keep a job's end after the job left the queue. condor_history is used only for tasks without an end in
    their log. If an ad is malformed, only those tasks become unknown that have no state in another source. Their reason then
    shows the ad.

    Raises:
        SchedulerError: The output of condor_q or condor_history is not a list of ads.
    """
    queue = answers.get("condor_q")
    answered = queue is not None and queue.exit_code == 0
    queued = read_queue(queue.text, {run.job_id: run.id for run in runs}) if answered and queue else NO_ROWS
    logged = read_log(answers["events"].text if "events" in answers else "")
    history = answers.get("condor_history")
    from_history = read_history(history.text) if history and history.exit_code == 0 else NO_ROWS
    unstarted = _unstarted(answers["records"].text if "records" in answers else "")
    result: dict[str, tuple[TaskStatus, ...]] = {}
    for run in runs:
        ended = {status.task: status for status in from_history.found.get(run.job_id, [])}
        in_queue = {status.task: status for status in queued.found.get(run.job_id, [])}
        by_event = {status.task: status for status in logged.get(run.job_id, [])}
        unread = queued.unread_of(run.job_id) or from_history.unread_of(run.job_id)
        combined = (_combine(task, in_queue, by_event, answered=answered, unread=unread) for task in range(run.tasks))
        complete = (one if one.state in TERMINAL else ended.get(one.task, one) for one in combined)
        result[run.id] = tuple(_as_failed(one) if (run.id, one.task) in unstarted else one for one in complete)
    return result


def _unstarted(text: str) -> frozenset[tuple[str, int]]:
    """Return run and task of each line ``RUN TASK never-began``: the task ended with 0, but its program never started."""
    lines = (line.split(" ") for line in text.splitlines())
    marked = ((words[0], whole_number(words[1])) for words in lines if words[2:] == ["never-began"])
    return frozenset((run, task) for run, task in marked if task is not None)


def _as_failed(one: TaskStatus) -> TaskStatus:
    """Return the state of a task whose program never started: failed, although HTCondor reports the exit code 0."""
    if one.state is not State.COMPLETED:
        return one
    return replace(one, state=State.FAILED, exit_code=125, reason=NEVER_BEGAN)


def _without_event(task: int, by_event: Mapping[int, TaskStatus]) -> TaskStatus | None:
    """Return the state of a task that has no event in the log; None if the log has no event about the whole job either.

    HTCondor has not created such a task, for one of two reasons: a limit (condor_submit(1), max_materialize), or a DAGMan
    that has not submitted the job.
    """
    cluster = by_event.get(CLUSTER)
    if cluster and cluster.state in {State.COMPLETED, State.FAILED}:
        why = "its DAGMan ended without submitting it; see job.dag.dagman.out in its folder"
        return replace(cluster, task=task, state=State.CANCELLED, exit_code=None, reason=why)
    if cluster and cluster.reason.startswith(NEVER):
        # wait.sh removed the DAGMan. HTCondor appended " (by user ...)" to the reason that wait.sh gave.
        return replace(cluster, task=task, reason=cluster.reason.rpartition(" (by user ")[0] or cluster.reason)
    return numbered(cluster, task) if cluster else None


def _combine(
    task: int, in_queue: Mapping[int, TaskStatus], by_event: Mapping[int, TaskStatus], *, answered: bool, unread: str
) -> TaskStatus:
    """Combine the queue and the event log: an end in the log is final; otherwise the state in the queue is used.

    Args:
        task: The number of the task.
        in_queue: The tasks of the run in the queue, by number.
        by_event: The tasks of the run in its event log, by number.
        answered: The query of the queue succeeded.
        unread: A malformed ad that may belong to the task; empty if there is none.
    """
    logged = by_event.get(task, _without_event(task, by_event))
    if logged and logged.state in TERMINAL:
        return logged
    if one := in_queue.get(task):
        return one if one.node or not logged else replace(one, node=logged.node)
    dagman = in_queue.get(CLUSTER)
    factory = len(in_queue) > (dagman is not None)
    if answered and (logged.word == "UNMATERIALIZED" if logged else factory):
        return TaskStatus(task=task, state=State.PENDING, word="UNMATERIALIZED")
    if dagman:
        # DAGMan is in the queue. It will submit the job, or it submitted the job after the queue was read, and the event
        # log, which is read later, already has the job.
        return by_event.get(task, replace(dagman, task=task))
    why = LOST
    if unread or not answered:
        why = f"{UNREAD}{unread}" if unread else "condor_q could not be queried"
    return TaskStatus(task=task, state=State.UNKNOWN, word=logged.word if logged else "", reason=why)
