"""Format the state of runs: in a table, as short text, with reasons and advice, and as JSON."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.cli import show
from hpcdeploy.cli.columns import Column
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.run import RunStatus, TaskStatus

_MOST_NOTES = 12
_CURRENT = 60.0
"""Maximum age in seconds of a state that is shown without its age: the default of ``--interval`` of `wait` and `watch`."""

_EXITS = {
    125: (
        "exit code 125 usually comes from hpcdeploy: the image's environment script (%environment, activation) ended "
        "before the program started; see 'hpcdeploy logs'"
    ),
    128 + 9: "the task was killed (signal 9), usually because it used more memory than it requested",
    255: (
        "exit code 255 usually comes from Apptainer, which could not get the image or start the container; see "
        "'hpcdeploy logs'"
    ),
}


def print_statuses(statuses: "Sequence[RunStatus]", *, json: bool, tasks: bool = False, explained: bool = True) -> None:
    """Print runs as JSON, or as a table.

    Args:
        statuses: The runs with their states.
        json: Print JSON instead of a table.
        tasks: Also print a table of the tasks of the first run if it has several.
        explained: Also print notes with reasons and advice.
    """
    if json:
        show.as_json([as_values(one) for one in statuses])
        return
    if not statuses:
        show.say("no runs")
        return
    _print_table(statuses, [in_words(one) for one in statuses])
    if tasks and statuses[0].run.tasks > 1:
        show.put()
        show.table(
            (Column("TASK", whole=True), "STATE", Column("EXIT", whole=True), "NODE", "REASON"),
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


def print_recorded(statuses: "Sequence[RunStatus]", project: Path | None, *, json: bool) -> None:
    """Print runs with their recorded states; a state that may have changed since is shown with its age.

    `project` is the project of the working folder. If a run belongs to another project, the table has a column with the
    project of each run.
    """
    if json or not statuses:
        print_statuses(statuses, json=json)
        return
    own = str(project.resolve()) if project else None
    foreign = any(one.run.project != own for one in statuses)
    projects = project_names([one.run.project for one in statuses]) if foreign else []
    ages = [age_of_state(one) for one in statuses]
    states = [in_words(one) + (f" [{age}]" if age else "") for one, age in zip(statuses, ages, strict=True)]
    _print_table(statuses, states, projects)
    if any(ages):
        show.notes(
            ["a state with its age in [brackets] may have changed since; 'hpcdeploy status --all' queries the clusters"]
        )


def age_of_state(one: "RunStatus") -> str:
    """Return the time since the state was queried as text; empty for a final state, and for `_CURRENT` seconds."""
    if one.ended or time.time() - one.asked <= _CURRENT:
        return ""
    return show.age(one.asked) if one.asked else "not queried yet"


def project_names(folders: Sequence[str]) -> list[str]:
    """Return a short name for each folder: as many parts from its end as make it different from all other folders."""
    found = {}
    for folder in dict.fromkeys(folders):
        parts = Path(folder).parts
        others = [Path(other).parts for other in folders if other != folder]
        number = next((n for n in range(1, len(parts)) if all(one[-n:] != parts[-n:] for one in others)), len(parts))
        found[folder] = str(Path(*parts[-number:])) if parts else "-"
    return [found[folder] for folder in folders]


def _print_table(statuses: "Sequence[RunStatus]", states: Sequence[str], projects: Sequence[str] = ()) -> None:
    """Print a table with a row for each run.

    Args:
        statuses: The runs with their states.
        states: The text of each run's state.
        projects: The name of each run's project; if empty, the table has no such column.
    """
    columns = (
        Column("RUN", whole=True),
        *((Column("PROJECT", drop=3),) if projects else ()),
        Column("CLUSTER", drop=4),
        Column("SCHEDULER", drop=1),
        Column("JOB ID", drop=5),
        Column("STATE"),
        Column("EXIT", whole=True, drop=6),
        Column("SUBMITTED", drop=2),
    )
    rows = [
        (
            one.run.id,
            *([projects[number]] if projects else ()),
            one.run.cluster,
            one.run.scheduler,
            one.run.job_id or "-",
            states[number],
            "-" if one.exit_code is None else str(one.exit_code),
            show.age(one.run.submitted),
        )
        for number, one in enumerate(statuses)
    ]
    show.table(columns, rows)


def in_words(one: "RunStatus") -> str:
    """Describe the state of a run: one word, or the number of tasks in each state; then the reason, if one is known."""
    if not one.tasks:
        return "SUBMITTING" if not one.run.job_id else "PENDING"
    counts = count_states(one)
    word = one.state.value if len(counts) == 1 else ", ".join(f"{count} {state}" for state, count in counts.items())
    first = next((task for task in one.tasks if task.state is one.state), one.tasks[0])
    unfamiliar = f" [{first.word}]" if first.state.value == "UNKNOWN" and first.word else ""
    again = _again(first) if len(one.tasks) == 1 else ""
    return one_line(f"{word}{unfamiliar}" + (f" ({first.reason})" if first.reason else "") + again)


def count_states(one: "RunStatus") -> dict[str, int]:
    """Return the number of a run's tasks in each state."""
    counts: dict[str, int] = {}
    for task in one.tasks:
        counts[task.state.value] = counts.get(task.state.value, 0) + 1
    return counts


def explanations(statuses: "Sequence[RunStatus]") -> list[str]:
    """Return notes on runs, without duplicates: expected start times, and reasons and advice for single tasks.

    Tasks that wait, are held or have failed get a note. If there are more than `_MOST_NOTES` notes, the others are only
    counted.
    """
    texts: dict[str, None] = {}
    for one in statuses:
        if start := expected_start(one):
            texts[f"{one.run.id}: expected to start {start}, or earlier"] = None
        for label, words in {(_label(task), explanation(one, task)): None for task in one.tasks}:
            if words:
                texts[one_line(f"{label}: {words}")] = None
    notes = list(texts)
    more = [f"and {len(notes) - _MOST_NOTES} more; use 'status RUN' for one run"] if len(notes) > _MOST_NOTES else []
    return notes[:_MOST_NOTES] + more


def explanation(one: "RunStatus", task: "TaskStatus") -> str:
    """Return why a task waits, is held or failed, with advice; empty if there is nothing to explain."""
    from hpcdeploy.scheduler.contract import scheduler_of

    known = _EXITS.get(task.exit_code or 0, "") if task.state.value == "FAILED" else ""
    # The exit code comes first, because for a failed program Slurm's reason is only NonZeroExitCode.
    return known or scheduler_of(one.run.scheduler).explain(task)


def expected_start(one: "RunStatus") -> str:
    """Return the earliest expected start of a run's waiting tasks, as local time; empty if it is unknown."""
    now = time.time()
    starts = [task.expected for task in one.tasks if task.expected > now]
    return clock(min(starts)) if starts else ""


def clock(when: int) -> str:
    """Format a time (seconds since 1970) as local time; another day than today is named too."""
    form = "%H:%M" if time.localtime(when)[:3] == time.localtime()[:3] else "%a %d %b %H:%M"
    return time.strftime(form, time.localtime(when))


def as_values(one: "RunStatus") -> dict[str, object]:
    """Return a run, its state and its tasks as values for JSON."""
    return {
        **asdict(one.run),
        "state": one.state.value if one.tasks else ("PENDING" if one.run.job_id else "SUBMITTING"),
        "exit_code": one.exit_code,
        "asked": one.asked,
        "current": not age_of_state(one),
        "tasks": [{**vars(task), "state": task.state.value, "explanation": explanation(one, task)} for task in one.tasks],
    }


def _label(task: "TaskStatus") -> str:
    if task.code:
        return f"hold {task.code}"
    return task.reason if task.reason and task.state.value in {"PENDING", "HELD"} else task.state.value


def _again(task: "TaskStatus") -> str:
    return f", restarted {task.restarts} time{'s' if task.restarts > 1 else ''}" if task.restarts else ""
