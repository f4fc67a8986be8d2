"""HTCondor: the words of `hpcdeploy.scheduler.contract.Scheduler`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcdeploy.cluster import Cluster
from hpcdeploy.gpus import handing
from hpcdeploy.job import Job
from hpcdeploy.run import NEVER_BEGAN, TERMINAL, UNREAD, Run, State, TaskStatus, numbered
from hpcdeploy.scheduler.answers import NO_ROWS, Answers
from hpcdeploy.scheduler.htcondor import reasons
from hpcdeploy.scheduler.htcondor.commands import commands
from hpcdeploy.scheduler.htcondor.event_log import read_log
from hpcdeploy.scheduler.htcondor.gpus import asks_for_gpus
from hpcdeploy.scheduler.htcondor.history import HISTORY_ATTRIBUTES, read_history
from hpcdeploy.scheduler.htcondor.queue import ATTRIBUTES, CLUSTER, NEVER, read_queue
from hpcdeploy.scheduler.htcondor.shapes import warning_of
from hpcdeploy.scheduler.htcondor.submit_language import lines
from hpcdeploy.scheduler.htcondor.transfer import notes_begin, sends_all, with_inputs, with_outputs
from hpcdeploy.whole_number import whole_number

JOB_TEMPLATE = "job.sub"

SECTIONS = ("condor_q", "events")


def job_values(job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
    """Give what ``htcondor_templates/`` needs to write `job`."""
    return {
        "commands": lines(with_outputs(with_inputs(commands(job, cluster, run_id), job, cluster), job, cluster)),
        "container": cluster.htcondor_container,
        "notes_begin": notes_begin(job, cluster),
        "gpus": handing(cluster.gpu_vendor, asked=asks_for_gpus(job)),
        "in_parts": False,
        "sends_all": sends_all(job, cluster),
        "warning": warning_of(job),
    }


def follow_values() -> Mapping[str, object]:
    """Give what ``htcondor_templates/follow.sh`` needs."""
    return {"attributes": ATTRIBUTES, "history_attributes": HISTORY_ATTRIBUTES}


def explain(status: TaskStatus) -> str:
    """Say why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""
    return reasons.explain(status)


def states(answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
    """Tell each run's tasks from condor_q and from the runs' own event logs, which outlast the queue.

    Of what neither of them tells the schedd's history may: it is asked for nothing else. An ad that cannot be read makes
    only those tasks unknown that nothing else tells of, with the ad as their reason.
    """
    queue = answers.get("condor_q")
    asked = queue is not None and queue.exit_code == 0
    queued = read_queue(queue.text, {run.job_id: run.id for run in runs}) if asked and queue else NO_ROWS
    logged = read_log(answers["events"].text if "events" in answers else "")
    history = answers.get("condor_history")
    remembered = read_history(history.text) if history and history.exit_code == 0 else NO_ROWS
    unbegun = _never_began(answers["records"].text if "records" in answers else "")
    told: dict[str, tuple[TaskStatus, ...]] = {}
    for run in runs:
        ended = {status.task: status for status in remembered.found.get(run.job_id, [])}
        live = {status.task: status for status in queued.found.get(run.job_id, [])}
        noted = {status.task: status for status in logged.get(run.job_id, [])}
        unread = queued.unread_of(run.job_id) or remembered.unread_of(run.job_id)
        judged = (_judge(task, live, noted, asked=asked, unread=unread) for task in range(run.tasks))
        all_told = (one if one.state in TERMINAL else ended.get(one.task, one) for one in judged)
        told[run.id] = tuple(_without_program(one) if (run.id, one.task) in unbegun else one for one in all_told)
    return told


def _never_began(text: str) -> frozenset[tuple[str, int]]:
    """Read the lines ``RUN TASK never-began``: tasks that ended with 0, and whose program left no note of its begin."""
    lines = (line.split(" ") for line in text.splitlines())
    marked = ((words[0], whole_number(words[1])) for words in lines if words[2:] == ["never-began"])
    return frozenset((run, task) for run, task in marked if task is not None)


def _without_program(one: TaskStatus) -> TaskStatus:
    if one.state is not State.COMPLETED:
        return one
    return replace(one, state=State.FAILED, exit_code=125, reason=NEVER_BEGAN)


def _not_made(task: int, noted: Mapping[int, TaskStatus]) -> TaskStatus | None:
    """Tell of a task that HTCondor has not made yet, for want of room (condor_submit(1), max_materialize), or never will."""
    cluster = noted.get(CLUSTER)
    if cluster and cluster.state in {State.COMPLETED, State.FAILED}:
        why = "its DAGMan ended, and never submitted it; job.dag.dagman.out in its folder may say why"
        return replace(cluster, task=task, state=State.CANCELLED, exit_code=None, reason=why)
    if cluster and cluster.reason.startswith(NEVER):
        # wait.sh removed its own DAGMan; HTCondor puts behind the reason who asked for it.
        return replace(cluster, task=task, reason=cluster.reason.rpartition(" (by user ")[0] or cluster.reason)
    return numbered(cluster, task) if cluster else None


def _judge(
    task: int, live: Mapping[int, TaskStatus], noted: Mapping[int, TaskStatus], *, asked: bool, unread: str
) -> TaskStatus:
    """Weigh the two witnesses: an end in the log is an end; else the queue; else nobody knows.

    `unread` is an ad that may be the task's and cannot be read.
    """
    logged = noted.get(task, _not_made(task, noted))
    if logged and logged.state in TERMINAL:
        return logged
    if one := live.get(task):
        return one if one.node or not logged else replace(one, node=logged.node)
    dagman = live.get(CLUSTER)
    factory = len(live) > (dagman is not None)
    if asked and (logged.word == "UNMATERIALIZED" if logged else factory):
        return TaskStatus(task=task, state=State.PENDING, word="UNMATERIALIZED")
    if dagman:
        # While it lives it has still to submit the job, or has just done so: the log was read after the queue.
        return noted.get(task, replace(dagman, task=task))
    why = "gone from the queue, and neither its log nor the history tells its end"
    if unread or not asked:
        why = f"{UNREAD}{unread}" if unread else "condor_q could not be asked"
    return TaskStatus(task=task, state=State.UNKNOWN, word=logged.word if logged else "", reason=why)
