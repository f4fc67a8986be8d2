"""How a run is told: in a word, in a table, in words of why it waits, and as JSON."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hpcdeploy.cli import show
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.run import RunStatus, TaskStatus

_MOST_NOTES = 12
_EXITS = {
    125: (
        "exit code 125 is most often hpcdeploy's own: the image's environment script (%environment, activation) ended "
        "before the program began; 'hpcdeploy logs' tells"
    ),
    128 + 9: "it was killed (signal 9), most often because it used more memory than it asked for",
    255: (
        "exit code 255 is most often Apptainer's own: it could not have the image, or not start the container; "
        "'hpcdeploy logs' has its words"
    ),
}


def print_statuses(statuses: "Sequence[RunStatus]", *, json: bool, tasks: bool = False, explained: bool = True) -> None:
    """Print runs as JSON, or as a table, with each task of the first one where `tasks`; then, where `explained`, why."""
    if json:
        show.as_json([as_values(one) for one in statuses])
        return
    if not statuses:
        show.say("no runs")
        return
    show.table(
        ("RUN", "CLUSTER", "SCHEDULER", "JOB ID", "STATE", "EXIT", "SUBMITTED"),
        [
            (
                one.run.id,
                one.run.cluster,
                one.run.scheduler,
                one.run.job_id or "-",
                in_words(one),
                "-" if one.exit_code is None else str(one.exit_code),
                show.age(one.run.submitted),
            )
            for one in statuses
        ],
    )
    if tasks and statuses[0].run.tasks > 1:
        show.put()
        show.table(
            ("TASK", "STATE", "EXIT", "NODE", "REASON"),
            [
                (
                    str(task.task),
                    task.state.value + _again(task),
                    "-" if task.exit_code is None else str(task.exit_code),
                    task.node or "-",
                    task.reason or "-",
                )
                for task in statuses[0].tasks
            ],
        )
    if explained:
        show.notes(explanations(statuses))


def in_words(one: "RunStatus") -> str:
    """Say where a run is: one word, how many tasks are where if they differ, and the reason if there is one."""
    if not one.tasks:
        return "SUBMITTING" if not one.run.job_id else "PENDING"
    counts = count_states(one)
    word = one.state.value if len(counts) == 1 else ", ".join(f"{count} {state}" for state, count in counts.items())
    first = next((task for task in one.tasks if task.state is one.state), one.tasks[0])
    unfamiliar = f" [{first.word}]" if first.state.value == "UNKNOWN" and first.word else ""
    again = _again(first) if len(one.tasks) == 1 else ""
    return one_line(f"{word}{unfamiliar}" + (f" ({first.reason})" if first.reason else "") + again)


def count_states(one: "RunStatus") -> dict[str, int]:
    """Count a run's tasks by state."""
    counts: dict[str, int] = {}
    for task in one.tasks:
        counts[task.state.value] = counts.get(task.state.value, 0) + 1
    return counts


def explanations(statuses: "Sequence[RunStatus]") -> list[str]:
    """Say once each why tasks wait, are held or ended badly, and what one can do; and when they are expected to start."""
    told: dict[str, None] = {}
    for one in statuses:
        if start := expected_start(one):
            told[f"{one.run.id}: expected to start {start}, or earlier"] = None
        for label, words in {(_label(task), explanation(one, task)): None for task in one.tasks}:
            if words:
                told[one_line(f"{label}: {words}")] = None
    notes = list(told)
    more = [f"and {len(notes) - _MOST_NOTES} more; 'status RUN' tells of one run"] if len(notes) > _MOST_NOTES else []
    return notes[:_MOST_NOTES] + more


def explanation(one: "RunStatus", task: "TaskStatus") -> str:
    """Say why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""
    from hpcdeploy.scheduler.contract import scheduler_of

    known = _EXITS.get(task.exit_code or 0, "") if task.state.value == "FAILED" else ""
    # Where the program failed by itself, its exit code says more than Slurm's NonZeroExitCode.
    return known or scheduler_of(one.run.scheduler).explain(task)


def expected_start(one: "RunStatus") -> str:
    """Say when the first of a run's waiting tasks is expected to start; empty where nobody said."""
    now = time.time()
    starts = [task.expected for task in one.tasks if task.expected > now]
    return clock(min(starts)) if starts else ""


def clock(when: int) -> str:
    """Write a time (seconds since 1970) as this machine's clock shows it; the day too where it is not today."""
    form = "%H:%M" if time.localtime(when)[:3] == time.localtime()[:3] else "%a %d %b %H:%M"
    return time.strftime(form, time.localtime(when))


def as_values(one: "RunStatus") -> dict[str, object]:
    """Return a run in values that JSON can hold."""
    return {
        **asdict(one.run),
        "state": one.state.value if one.tasks else ("PENDING" if one.run.job_id else "SUBMITTING"),
        "exit_code": one.exit_code,
        "asked": one.asked,
        "tasks": [{**vars(task), "state": task.state.value, "explanation": explanation(one, task)} for task in one.tasks],
    }


def _label(task: "TaskStatus") -> str:
    if task.code:
        return f"hold {task.code}"
    return task.reason if task.reason and task.state.value in {"PENDING", "HELD"} else task.state.value


def _again(task: "TaskStatus") -> str:
    return f", begun anew {task.restarts} time{'s' if task.restarts > 1 else ''}" if task.restarts else ""
