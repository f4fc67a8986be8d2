"""Parse an HTCondor job event log into task states."""

import re
from dataclasses import replace
from datetime import UTC, datetime

from hpcdeploy.checked_values import HIGHEST_EXIT_CODE, whole_number
from hpcdeploy.limits import text_lines
from hpcdeploy.run import State, TaskStatus

_EVENT = re.compile(
    r"(?P<code>[0-9]{3}) \((?P<cluster>[0-9]{1,10})\.(?P<proc>-?[0-9]{1,10})\.[0-9]{1,10}\) (?P<time>\S+ \S+) (?P<rest>.*)"
)
_SLOT = re.compile(r"\s*SlotName: (?P<slot>\S+)")
_RETURN = re.compile(r"\s*\(1\) Normal termination \(return value (?P<code>-?[0-9]{1,10})\)")
_HOLD = re.compile(r"\s*Code (?P<code>[0-9]{1,10}) Subcode [0-9]+")
OUT_OF_TIME = frozenset({46, 47})
"""Hold codes of allowed_job_duration and allowed_execute_duration (the manual's list of HoldReasonCode)."""
TIMED_OUT = "the time limit was reached"
_SIGNAL = re.compile(r"\s*\(0\) Abnormal termination \(signal (?P<signal>[0-9]{1,3})\)")


def read_log(text: str) -> dict[str, list[TaskStatus]]:
    """Parse a job event log, or the lines of it that the follow script prints, by cluster id.

    The event numbers are those of HTCondor's manual ("Job Event Log Codes"). The last event of a task determines its state:

    - A task may be executed (001) several times.
    - Terminated (005) and aborted (009) are final.
    - An eviction (004) is not final. Its event may contain an exit code, if the program will run again (max_retries).
    - A hold because of the time limit is final, because the job's periodic_remove then removes the job.

    A time without a time zone is read as UTC. A time that is not in ISO format has no year, so it is unknown (0).
    """
    tasks: dict[tuple[str, int], TaskStatus] = {}
    current: tuple[str, int] | None = None
    for line in text_lines(text):
        if match := _EVENT.match(line):
            current = (str(int(match["cluster"])), int(match["proc"]))
            before = tasks.get(current, TaskStatus(task=current[1], state=State.PENDING))
            tasks[current] = _after(before, match["code"], _time(match["time"]), match["rest"])
        elif current and (match := _SLOT.match(line)):
            tasks[current] = replace(tasks[current], node=match["slot"])
        elif current and tasks[current].state is State.HELD and (match := _HOLD.match(line)):
            if int(match["code"]) in OUT_OF_TIME:
                tasks[current] = replace(tasks[current], state=State.TIMEOUT, word="HELD", reason=TIMED_OUT)
        elif current and tasks[current].state is State.CANCELLED and line.startswith("\t") and not tasks[current].reason:
            tasks[current] = replace(tasks[current], reason=line.strip())
        elif current and tasks[current].state is not State.COMPLETING:
            continue
        elif current and (match := _RETURN.match(line)):
            code = int(match["code"])
            state = State.FAILED if code else State.COMPLETED
            tasks[current] = _ended(tasks[current], state, "COMPLETED", code)
        elif current and (match := _SIGNAL.match(line)):
            tasks[current] = _ended(tasks[current], State.FAILED, "COMPLETED", 128 + int(match["signal"]))
    found: dict[str, list[TaskStatus]] = {}
    for (cluster, _task), status in sorted(tasks.items()):
        found.setdefault(cluster, []).append(status)
    return found


def _ended(before: TaskStatus, state: State, word: str, code: int) -> TaskStatus:
    return replace(before, state=state, word=word, exit_code=whole_number(code, HIGHEST_EXIT_CODE))


def _after(before: TaskStatus, code: str, when: int, rest: str) -> TaskStatus:
    """Return the status of a task after one event."""
    task = before.task
    match code:
        case "000":
            return TaskStatus(task=task, state=State.PENDING, word="IDLE")
        case "001":
            node = rest.rpartition(": ")[2].strip("<>").partition("?")[0]
            return TaskStatus(task=task, state=State.RUNNING, word="RUNNING", node=node, started=when)
        case "035":
            return TaskStatus(task=task, state=State.PENDING, word="UNMATERIALIZED")
        case "036":
            return TaskStatus(task=task, state=State.CANCELLED, word="REMOVED", ended=when)
        case "004" | "013" | "024":
            # Evicted, released, or reconnection failed: the task waits for a slot again.
            return TaskStatus(task=task, state=State.PENDING, word="IDLE")
        case "005":
            return TaskStatus(
                task=task, state=State.COMPLETING, word="COMPLETED", node=before.node, started=before.started, ended=when
            )
        case "009":
            if before.state is State.TIMEOUT:
                return before
            return TaskStatus(task=task, state=State.CANCELLED, word="REMOVED", started=before.started, ended=when)
        case "022":
            return replace(before, reason="the submit node lost the connection to the worker and tries to reconnect")
        case "010":
            return TaskStatus(task=task, state=State.SUSPENDED, word="SUSPENDED", node=before.node, started=before.started)
        case "011" | "023":
            return TaskStatus(task=task, state=State.RUNNING, word="RUNNING", node=before.node, started=before.started)
        case "012":
            return TaskStatus(task=task, state=State.HELD, word="HELD", node=before.node, started=before.started, ended=when)
        case _:
            return before


def _time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
