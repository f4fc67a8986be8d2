"""Parse the output of squeue and sacct into task states."""

import re
from collections.abc import Mapping, Sequence

from hpcdeploy.run import State, TaskStatus, numbered
from hpcdeploy.scheduler.slurm.exit_codes import ExitCodes

FORMAT = ",".join(
    f"{field}:|" for field in ("ArrayJobID", "ArrayTaskID", "State", "NodeList", "StartTime", "RestartCnt", "Reason")
)
"""The fields that the follow script requests from squeue with ``--Format``, each followed by a bar; the free text is last.

StartTime of a pending job is its expected start, as in ``squeue --start``. A field with its own suffix and without a width
is never truncated (squeue(1); seen in 22.05 and 24.11).
"""

ACCOUNTING_FORMAT = "JobID,State,ExitCode,NodeList,Start,End,Comment,JobName"
"""The fields that the follow script requests from sacct with ``--parsable2``; free texts are last.

Accounting has the comment only if the site stores it (slurm.conf(5), AccountingStoreFlags=job_comment).
"""

NO_NODE = "None assigned"
"""sacct's node list of a job that never started (src/plugins/accounting_storage/mysql/as_mysql_job.c)."""

# States in squeue(1) and sacct(1), "JOB STATE CODES". A flag such as COMPLETING replaces the base state, and new releases
# add states: any other word is UNKNOWN, and never an end.
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

# Held by its owner, an administrator or after a requeue: squeue shows PENDING, but the job starts only after a release
# (squeue(1), JOB REASON CODES). For a hold after a requeue the reason is a text: "job requeued in held state", "launch
# failed requeued held", "launch failure limit exceeded requeued held", "user env retrieval failed requeued held"
# (src/slurmctld/job_mgr.c of 26.05). scontrol writes an underscore for each space.
_HOLDS = frozenset({"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"})
_HELD = re.compile(r".*\b(?:requeued held|in held state)")


def is_hold(reason: str) -> bool:
    """Tell whether a job with this reason is held, so that it starts only after a release."""
    return reason in _HOLDS or _HELD.match(reason.replace("_", " ")) is not None


def state_of(word: str) -> State:
    """Return the state for a word of Slurm's; ``CANCELLED by 1000`` and a truncated ``CANCELLED+`` are CANCELLED."""
    return _STATES.get(word.split(" ", maxsplit=1)[0].rstrip("+").upper(), State.UNKNOWN)


def read_queue(text: str) -> dict[str, list[TaskStatus]]:
    """Parse the output of squeue in `FORMAT`, by job id.

    One line may describe many pending tasks (``0-99%10``).

    Raises:
        ValueError: A line is malformed.
    """
    found: dict[str, list[TaskStatus]] = {}
    for line in filter(None, text.splitlines()):
        job_id, index, word, node, start, restarts, reason = line.removesuffix("|").split("|", 6)
        state = State.HELD if word == "PENDING" and is_hold(reason) else state_of(word)
        began = seconds(start) if state in {State.RUNNING, State.COMPLETING, State.SUSPENDED} else 0
        one = TaskStatus(
            task=0,
            state=state,
            word=word,
            reason="" if reason == "None" else reason,
            node=node,
            started=began,
            expected=seconds(start) if state is State.PENDING else 0,
            restarts=int(restarts),
        )
        found.setdefault(job_id, []).extend(numbered(one, task) for task in indices(index))
    return found


def read_accounting(
    text: str, names: Mapping[str, Sequence[str]], exact: ExitCodes | None = None
) -> dict[str, list[TaskStatus]]:
    """Parse the output of ``sacct --allocations --parsable2`` in `ACCOUNTING_FORMAT`, by job id.

    sacct writes an exit code as ``code:signal``; a job that was killed by a signal counts as 128 + signal, as in a shell.

    Args:
        text: The output.
        names: The names of each job, by its id. Slurm restarts its numbering at MaxJobId, so another job may have had the
            same id (slurm.conf(5)). A job matches by its name, or by its comment ``hpcdeploy:NAME``.
        exact: The exit codes, if sacct subtracts 128 (see `hpcdeploy.scheduler.slurm.exit_codes`); a missing one is
            unknown.

    Raises:
        ValueError: A line is malformed.
    """
    found: dict[str, list[TaskStatus]] = {}
    for line in filter(None, text.splitlines()):
        number, word, code, node, start, end, texts = line.split("|", 6)
        job_id, _, index = number.partition("_")
        known_as = names.get(job_id, ())
        if not any(texts.startswith(f"hpcdeploy:{name}|") or texts.endswith(f"|{name}") for name in known_as):
            continue
        state = state_of(word)
        # Rejected, or failed before it started: ExitCode is not that of a program (0:1 in 24.11).
        unstarted = state is State.FAILED and node == NO_NODE
        found.setdefault(job_id, []).extend(
            TaskStatus(
                task=task,
                state=state,
                word=word,
                reason=NO_NODE if unstarted else "",
                exit_code=None if unstarted else _exit_code(code, state, (job_id, task), exact),
                node="" if node == NO_NODE else node,
                started=seconds(start),
                ended=seconds(end),
            )
            for task in indices(index)
        )
    return found


def _exit_code(code: str, state: State, task: tuple[str, int], exact: ExitCodes | None) -> int | None:
    """Return a task's exit code; None if it has none or if it is unknown."""
    status, _, signal = code.partition(":")
    if int(signal or 0) and not int(status):
        return 128 + int(signal)
    if state is State.COMPLETED or not (int(status) or state is State.FAILED):
        return 0 if state is State.COMPLETED else None
    if exact is None:
        return int(status)
    # If the JSON output contradicts this output, it is wrong: in 22.05 it has 0 for all jobs (exit_codes.py).
    known = exact.get(task)
    return known if known in {int(status), int(status) + 128} and known else None


def indices(text: str) -> list[int]:
    """Expand an array index of squeue or sacct: ``7``, ``[3,5-9%2]``, ``0-98:2``; no index (``N/A``) means task 0."""
    bare = text.strip("[]").partition("%")[0]
    if bare in {"", "N/A"}:
        return [0]
    tasks: list[int] = []
    for part in bare.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        tasks.extend(range(int(first), int(last or first) + 1, int(step or 1)))
    return tasks


def seconds(text: str) -> int:
    """Parse a time in the format of the follow script (``SLURM_TIME_FORMAT=%s``); 0 for ``Unknown`` and the like."""
    return int(text) if text.isdigit() else 0
