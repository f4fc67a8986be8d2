"""Parse the output of squeue and sacct, and the records that the job script of each task writes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from hpcdeploy.checked_values import HIGHEST_EXIT_CODE, LATEST, MOST_TASKS, moment, read_json, whole_number
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import text_lines
from hpcdeploy.run import NEVER_BEGAN, State, TaskStatus, numbered
from hpcdeploy.scheduler.contract import Rows, shown

ExitCodes = Mapping[tuple[str, int], int]
"""Exit codes by job id and task number. The job id of an array task is the array's."""


def read_exit_codes(text: str) -> dict[tuple[str, int], int]:
    """Return the exit codes in the output of ``sacct --json``; malformed jobs are skipped.

    Early releases of Slurm write an exit code as a plain number, later ones as ``{"set": true, "infinite": false,
    "number": 7}``
    (``UINT32_NO_VAL`` in src/plugins/data_parser/v0.0.42/parsers.c).
    """
    try:
        value = read_json(text)
    except ValueError:
        return {}
    jobs = value.get("jobs") if isinstance(value, dict) else None
    found: dict[tuple[str, int], int] = {}
    for job in jobs if isinstance(jobs, list) else []:
        code = _number(job, "exit_code", "return_code")
        number = _number(job, "array", "job_id") or _number(job, "job_id")
        if code is not None and code <= HIGHEST_EXIT_CODE and number:
            found[str(number), _number(job, "array", "task_id") or 0] = code
    return found


def _number(value: object, *keys: str) -> int | None:
    """Return the number under `keys`; None if it is missing or not set."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return whole_number(value)


FORMAT = ",".join(
    f"{field}:|" for field in ("ArrayJobID", "ArrayTaskID", "State", "NodeList", "StartTime", "RestartCnt", "Reason")
)
"""The fields that the follow script requests from squeue with ``--Format``, each followed by a bar.

Reason is last, because it is free text that may contain a bar. StartTime of a pending job is its expected start, as in
``squeue --start``. squeue does not truncate these fields, because each has a suffix and no width (squeue(1); seen in
22.05 and 24.11).
"""

ACCOUNTING_FORMAT = "JobID,State,ExitCode,NodeList,Start,End,Comment,JobName"
"""The fields that the follow script requests from sacct with ``--parsable2``.

Comment and JobName are last, because they are free text that may contain a bar. The comment is empty unless the site
stores comments (slurm.conf(5), AccountingStoreFlags=job_comment).
"""

NO_NODE = "None assigned"
"""What sacct prints as NodeList for a job that never started (src/plugins/accounting_storage/mysql/as_mysql_job.c)."""

# States in squeue(1) and sacct(1), "JOB STATE CODES". A flag such as COMPLETING is printed instead of the base state. A word
# that is not listed here becomes UNKNOWN, which is not final, because new releases of Slurm add states.
_STATES = {
    "PENDING": State.PENDING,
    "CONFIGURING": State.PENDING,
    "EXPEDITING": State.PENDING,  # since 25.11: requeued, and eligible to restart at once (doc/html/job_state_codes.shtml)
    "REQUEUED": State.PENDING,
    "REQUEUE_FED": State.PENDING,
    "REQUEUE_HOLD": State.HELD,
    "RESV_DEL_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "RUNNING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.COMPLETING,
    "COMPLETING": State.COMPLETING,
    "SUSPENDED": State.SUSPENDED,
    "STOPPED": State.SUSPENDED,
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "BOOT_FAIL": State.NODE_FAIL,
    "NODE_FAIL": State.NODE_FAIL,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "PREEMPTED": State.PREEMPTED,
}

# Reasons of held jobs. squeue shows a held job as PENDING, but it starts only after a release (squeue(1), JOB REASON CODES).
# The owner, an administrator or a requeue may have held it. A requeue that holds the job gives one of these reasons:
# "job requeued in held state", "launch failed requeued held", "launch failure limit exceeded requeued held",
# "user env retrieval failed requeued held" (src/slurmctld/job_mgr.c of 26.05). scontrol writes underscores for the spaces.
_HOLDS = frozenset({"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"})
_HELD = re.compile(r".*\b(?:requeued held|in held state)")


def is_hold(reason: str) -> bool:
    """Tell whether a job with this reason is held, so that it starts only after a release."""
    return reason in _HOLDS or _HELD.match(reason.replace("_", " ")) is not None


def state_of(word: str) -> State:
    """Return the state that Slurm printed as `word`; ``CANCELLED by 1000`` and ``CANCELLED+`` (truncated) are CANCELLED."""
    return _STATES.get(word.split(" ", maxsplit=1)[0].rstrip("+").upper(), State.UNKNOWN)


def read_queue(text: str, tasks: Mapping[str, int] | None = None) -> Rows:
    """Parse the output of squeue in `FORMAT`.

    One line may describe many pending tasks (``0-99%10``). A malformed line does not affect the other lines.

    Args:
        text: The output of squeue.
        tasks: The number of tasks of each job, by job id.
    """
    return _read(text, tasks or {}, _queued)


def read_accounting(
    text: str, names: Mapping[str, Sequence[str]], exact: ExitCodes | None = None, tasks: Mapping[str, int] | None = None
) -> Rows:
    """Parse the output of ``sacct --allocations --parsable2`` in `ACCOUNTING_FORMAT`.

    sacct writes an exit code as ``CODE:SIGNAL``, from which the exit code of a task is derived:

    - ``0:SIGNAL`` becomes 128 + SIGNAL, as in a shell.
    - The exit code of a COMPLETED task is 0.
    - A task with ``0:0`` has no exit code if its state is neither COMPLETED nor FAILED. For FAILED, the code is looked up in
      `exact`; without `exact` it is 0.
    - A task that failed before it started has no exit code.
    - In all other cases the exit code is CODE; with `exact`, it is looked up there.

    Args:
        text: The output of sacct.
        names: The accepted names of each job, by job id. A row is ignored unless its job has one of these names, or the
            comment ``hpcdeploy:NAME``. Slurm reuses job ids after MaxJobId (slurm.conf(5)), so another job may have had
            the same id.
        exact: The exit codes from ``sacct --json``, for releases of Slurm in which `text` shows 128 + N as N; None for other
            releases. If `exact` is given, the exit code of a task that ended with an error (other than ``0:SIGNAL``) is
            unknown unless `exact` contains CODE or 128 + CODE for the task.
        tasks: The number of tasks of each job, by job id.
    """
    return _read(text, tasks or {}, partial(_accounted, names=names, exact=exact))


_Row = tuple[str, Callable[[int], TaskStatus]]
"""A parsed row: its array index as Slurm wrote it, and a function that returns the status of a task by its number."""


def _read(text: str, tasks: Mapping[str, int], read_row: Callable[[str], _Row | None]) -> Rows:
    """Parse the rows of an output.

    A job may have at most `_REPEATED` statuses per task. A row that would exceed this maximum is reported as malformed.
    """
    found: dict[str, list[TaskStatus]] = {}
    unread: dict[str, str] = {}
    for line in text_lines(text):
        job_id = line.partition("|")[0].partition("_")[0]
        if whole_number(job_id) is None:
            unread[""] = shown(line)
            continue
        statuses = found.setdefault(job_id, [])
        size = tasks.get(job_id, MOST_TASKS)
        try:
            row = read_row(line)
            numbers = indices(row[0], size) if row else []
        except ValueError:
            row, numbers = None, []
            unread[job_id] = shown(line)
        if len(statuses) + len(numbers) > _REPEATED * size:
            unread[job_id] = shown(line)
        elif row:
            statuses.extend(map(row[1], numbers))
    return Rows(found=found, unread=unread)


_REPEATED = 10
"""Maximum number of statuses of a job in one output, per task of the job.

Slurm prints one status of each task, and may print two of a requeued task. The rest of the limit is a reserve.
"""


def _queued(line: str) -> _Row:
    _, index, word, node, start, restarts, reason = line.removesuffix("|").split("|", 6)
    state = State.HELD if word == "PENDING" and is_hold(reason) else state_of(word)
    one = TaskStatus(
        task=0,
        state=state,
        word=word,
        reason="" if reason == "None" else reason,
        node=node,
        started=moment(start) if state in {State.RUNNING, State.COMPLETING, State.SUSPENDED} else 0,
        expected=moment(start) if state is State.PENDING else 0,
        restarts=whole_number(restarts) or 0,
    )
    return index, partial(numbered, one)


def _accounted(line: str, *, names: Mapping[str, Sequence[str]], exact: ExitCodes | None) -> _Row | None:
    """Parse a row of sacct; return None if it belongs to another job that once had the same id."""
    number, word, code, node, start, end, texts = line.split("|", 6)
    job_id, _, index = number.partition("_")
    known_as = names.get(job_id, ())
    if not any(texts.startswith(f"hpcdeploy:{name}|") or texts.endswith(f"|{name}") for name in known_as):
        return None
    state = state_of(word)
    # If the job was rejected, or failed before it started, ExitCode is not a program's exit code (it is 0:1 in 24.11).
    unstarted = state is State.FAILED and node == NO_NODE
    status, signal = _code(code)

    def status_of(task: int) -> TaskStatus:
        return TaskStatus(
            task=task,
            state=state,
            word=word,
            reason=NO_NODE if unstarted else "",
            exit_code=None if unstarted else _exit_code(status, signal, state, (job_id, task), exact),
            node="" if node == NO_NODE else node,
            started=moment(start),
            ended=moment(end),
        )

    return index, status_of


def _code(text: str) -> tuple[int, int]:
    """Parse ``code:signal``.

    Raises:
        ValueError: `text` is malformed.
    """
    code, _, signal = text.partition(":")
    status, number = whole_number(code, HIGHEST_EXIT_CODE), whole_number(signal or 0, HIGHEST_EXIT_CODE - 128)
    if status is None or number is None:
        raise ValueError(text)
    return status, number


def _exit_code(status: int, signal: int, state: State, task: tuple[str, int], exact: ExitCodes | None) -> int | None:
    """Return the exit code of a task for which sacct printed ``status:signal``; None if it is unknown or there is none."""
    if signal and not status:
        return 128 + signal
    if state is State.COMPLETED:
        return 0
    if not status and state is not State.FAILED:
        return None
    if exact is None:
        return status
    # An exit code from the JSON output is used only if it is `status` or `status` + 128, and not 0, because in 22.05 the
    # JSON output has 0 for all jobs.
    known = exact.get(task)
    return known if known in {status, status + 128} and known else None


_SPAN = re.compile(r"(?P<first>[0-9]{1,10})(?:-(?P<last>[0-9]{1,10}))?(?::(?P<step>[0-9]{1,10}))?")


def indices(text: str, tasks: int = MOST_TASKS) -> list[int]:
    """Expand an array index of squeue or sacct (``7``, ``[3,5-9%2]``, ``0-98:2``) into task numbers.

    An empty index and ``N/A`` mean that the job is not an array; its only task has the number 0.

    Args:
        text: The array index.
        tasks: The number of tasks of the array; numbers that are not below it are left out.

    Raises:
        ValueError: `text` is malformed, or repeats numbers so that it yields more than `tasks` numbers.
    """
    bare = text.strip("[]").partition("%")[0]
    if bare in {"", "N/A"}:
        return [0]
    found: list[int] = []
    for part in bare.split(","):
        match = _SPAN.fullmatch(part)
        if not match:
            raise ValueError(text)
        first = int(match["first"])
        # range() raises ValueError for a step of 0.
        span = range(first, min(int(match["last"] or first) + 1, tasks), int(match["step"] or 1))
        if len(found) + len(span) > tasks:
            raise ValueError(text)
        found.extend(span)
    return found


@frozen
class Record:
    """The records of one task.

    Attributes:
        started: The start, in seconds since 1970; 0 if unknown.
        node: The first node of the task; empty if unknown.
        ended: The end, in seconds since 1970; 0 if unknown.
        exit_code: The exit code of the program; None if unknown.
        program_started: False if the task recorded ``never-began``: its container exited with 0, but its program never
            started. The recorded exit code is then 125 (login/job/started.sh).
    """

    started: int = 0
    node: str = ""
    ended: int = 0
    exit_code: int | None = None
    program_started: bool = True


def read_records(text: str) -> dict[tuple[str, int | None], Record]:
    """Parse the lines ``RUN TASK start|end|cancelled TIME ...``; return the record of each task, by run and task.

    The record of the task None shows that the run was cancelled. Its line has ``-`` instead of a task number.

    Lines that are incomplete or contain an impossible number are skipped, because a full disk can truncate a line. An end
    before the start is skipped as well, because the end belongs to an attempt before a requeue.
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
                    program_started = "never-began" not in why
                    found[run, task] = replace(known, ended=time, exit_code=code, program_started=program_started)
            case _:
                continue
    stale = [place for place, record in found.items() if record.ended and record.started > record.ended]
    return found | {place: replace(found[place], ended=0, exit_code=None, program_started=True) for place in stale}


def complete(status: TaskStatus, record: Record) -> TaskStatus:
    """Add the values that `status` lacks from the task's record.

    A recorded exit code replaces the exit code of `status`, because sacct may show another one. If the record says that the
    program never started, `NEVER_BEGAN` replaces the reason.
    """
    known = status.exit_code if record.exit_code is None else record.exit_code
    return replace(
        status,
        exit_code=known,
        reason=status.reason if record.program_started else NEVER_BEGAN,
        node=status.node or record.node,
        started=status.started or record.started,
        ended=status.ended or record.ended,
    )
