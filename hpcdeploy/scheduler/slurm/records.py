"""What a task notes itself in the run's folder: the truth without accounting, and after the scheduler forgot."""

from dataclasses import dataclass, replace

from hpcdeploy.limits import text_lines
from hpcdeploy.run import NEVER_BEGAN, TaskStatus
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, LATEST, MOST_TASKS, whole_number


@dataclass(frozen=True, kw_only=True)
class Record:
    """A task's own notes; times in seconds since 1970, 0 where it never noted one.

    ``began``: unless it ended with ``never-began``, where the container ended well and its program had not begun.
    """

    started: int = 0
    node: str = ""
    ended: int = 0
    exit_code: int | None = None
    began: bool = True


def read_records(text: str) -> dict[tuple[str, int | None], Record]:
    """Read the lines ``RUN TASK start|end|cancelled TIME ...`` by run and task; a cancelled run stands under task None.

    A line that is not whole (the disk was full), or has a number that none can be, tells nothing and is left out; so does an
    end before the start: that is an earlier attempt's, before a requeue.
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
    """Fill in from the task's own notes what the scheduler did not say."""
    known = status.exit_code if record.exit_code is None else record.exit_code
    return replace(
        status,
        exit_code=known,
        reason=status.reason if record.began else NEVER_BEGAN,
        node=status.node or record.node,
        started=status.started or record.started,
        ended=status.ended or record.ended,
    )
