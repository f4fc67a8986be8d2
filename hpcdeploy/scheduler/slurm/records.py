"""Parse the records that a task writes in the run's folder; they outlast Slurm's memory and need no accounting."""

from dataclasses import dataclass, replace

from hpcdeploy.limits import text_lines
from hpcdeploy.run import NEVER_BEGAN, TaskStatus
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, LATEST, MOST_TASKS, whole_number


@dataclass(frozen=True, kw_only=True)
class Record:
    """The records of one task; times are seconds since 1970, 0 if unknown.

    ``began`` is false if the task recorded ``never-began``: its container exited with 0, but its program never started.
    """

    started: int = 0
    node: str = ""
    ended: int = 0
    exit_code: int | None = None
    began: bool = True


def read_records(text: str) -> dict[tuple[str, int | None], Record]:
    """Parse the lines ``RUN TASK start|end|cancelled TIME ...`` by run and task; a cancelled run has the task None.

    Incomplete lines and lines with impossible numbers are skipped (the disk was full). So is an end before the start, which
    belongs to an earlier attempt, before a requeue.
    """
    found: dict[tuple[str, int | None], Record] = {}
    for line in text_lines(text):
        match line.split(" "):
            case [run, "-", "cancelled", _]:
                found[run, None] = Record()
            case [run, number, "start", word, _job, node]:
                task, time = whole_number(number, MOST_TASKS), whole_number(word, LATEST)
                if task is not None and time is not None:
                    found[run, task] = replace(found.get((run, task), Record()), started=time, node=node)
            case [run, number, "end", word, status, *why]:
                task, time, code = (
                    whole_number(number, MOST_TASKS),
                    whole_number(word, LATEST),
                    whole_number(status, HIGHEST_EXIT_CODE),
                )
                if task is not None and time is not None and code is not None:
                    known = found.get((run, task), Record())
                    began = "never-began" not in why
                    found[run, task] = replace(known, ended=time, exit_code=code, began=began)
            case _:
                continue
    stale = [place for place, record in found.items() if record.ended and record.started > record.ended]
    return found | {place: replace(found[place], ended=0, exit_code=None, began=True) for place in stale}


def settle(status: TaskStatus, record: Record) -> TaskStatus:
    """Complete a scheduler's status with the task's own records."""
    known = status.exit_code if record.exit_code is None else record.exit_code
    return replace(
        status,
        exit_code=known,
        reason=status.reason if record.began else NEVER_BEGAN,
        node=status.node or record.node,
        started=status.started or record.started,
        ended=status.ended or record.ended,
    )
