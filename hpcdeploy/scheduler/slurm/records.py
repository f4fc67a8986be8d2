"""What a task notes itself in the run's folder: the truth without accounting, and after the scheduler forgot."""

from dataclasses import dataclass, replace

from hpcdeploy.limits import text_lines
from hpcdeploy.run import NEVER_BEGAN, TaskStatus


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

    A line that is not whole (the disk was full) tells nothing and is left out; so does an end before the start: that is an
    earlier attempt's, before a requeue.
    """
    found: dict[tuple[str, int | None], Record] = {}
    for line in text_lines(text):
        match line.split(" "):
            case [run, "-", "cancelled", _]:
                found[run, None] = Record()
            case [run, task, "start", time, _job, node] if task.isdigit() and time.isdigit():
                found[run, int(task)] = replace(found.get((run, int(task)), Record()), started=int(time), node=node)
            case [run, task, "end", time, code, *why] if task.isdigit() and time.isdigit() and code.isdigit():
                known = found.get((run, int(task)), Record())
                began = "never-began" not in why
                found[run, int(task)] = replace(known, ended=int(time), exit_code=int(code), began=began)
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
