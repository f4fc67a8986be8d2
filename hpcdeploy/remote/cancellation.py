"""Cancel runs on a login node: the jobs of submitted runs, or a submission that was interrupted."""

import re
from collections.abc import Sequence
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, SchedulerError, TransportError, UncertainSubmissionError
from hpcdeploy.remote.answers import ExitCode, read_submission
from hpcdeploy.remote.script_parts import ABOUT_REVOKE, FILES, FIND, query_script, set_paths
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.shell_script import Script, Setup, Value
from hpcdeploy.templates import refuse_former

_ENDED = re.compile(r"^HPCDEPLOY ended (\S+)$", re.MULTILINE)


def cancel_jobs(runs: Sequence[Run], session: Session) -> list[Run]:
    """Cancel the jobs of `runs`, all of which belong to one scheduler; return the runs that still had a job in the queue.

    Raises:
        SchedulerError: The scheduler rejected the request; the message contains the scheduler's message.
        TransportError: The connection failed.
    """
    result = session.run(cancel_script(session.cluster, runs, overrides=session.overrides))
    if result.exit_code:
        which = ("all of " if len(runs) > 1 else "") + ", ".join(run.id for run in runs)
        raise SchedulerError(f"{runs[0].scheduler} on {session.cluster.name} did not cancel {which}: {result.errors}")
    ended = set(_ENDED.findall(result.stdout.decode("utf-8", "replace")))
    return [run for run in runs if run.id not in ended]


def cancel_script(cluster: Cluster, runs: Sequence[Run], *, overrides: Path | None = None) -> str:
    """Render the script that cancels `runs`, and records the cancellation in their folders.

    Args:
        cluster: The cluster.
        runs: The runs, all of which must belong to one scheduler.
        overrides: The project's folder, which is checked for templates that no longer exist; None for no check.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: The project replaces a template that no longer exists.
    """
    refuse_former(overrides)
    scheduler = runs[0].scheduler
    jobs = [(run.id, part) for run in runs for part in run.parts]
    values: dict[str, Value] = {
        "run_ids": tuple(run.id for run in runs),
        "run_of": {part.job_id: run_id for run_id, part in jobs},
        "cancel_command": "scancel" if scheduler == "slurm" else "condor_rm",
    }
    if scheduler == "slurm":
        values["name_of"] = {part.job_id: part.name for _, part in jobs}
    return query_script("Cancel runs.", values, cluster, f"{scheduler}-cancel", with_variables=True)


def find_or_prevent(run: Run, session: Session) -> Run:
    """Find the job that an interrupted submission of `run` created, or prevent the submission from creating one later.

    Returns:
        The run with its job id. The job id is empty if there is no job and there will be none.

    Raises:
        SchedulerError: The login node is not usable; nothing was done.
        UncertainSubmissionError: It is still unknown whether the run has a job.
        TransportError: No connection can be opened; nothing was done.
    """
    again = f"run 'hpcdeploy cancel {run.id}' again later"
    try:
        result = session.run(find_or_prevent_script(session.cluster, run, overrides=session.overrides))
    except TransportError as error:
        session.reconnect()
        if not isinstance(error, ConnectionLostError):
            raise
        raise UncertainSubmissionError(
            f"the connection failed while run {run.id} was being cancelled ({error}); the run may have a job: {again}"
        ) from error
    message = result.message
    if result.exit_code == ExitCode.UNUSABLE:
        raise SchedulerError(f"run {run.id} was not cancelled: {message}")
    try:
        answer = None if result.exit_code else result.answer()
        if answer is not None:
            return read_submission(answer, run, may_lack_job=True).run
    except ValueError as error:
        message = str(error)
    raise UncertainSubmissionError(f"{message}; {again}")


def find_or_prevent_script(cluster: Cluster, run: Run, *, lock_timeout: int = 30, overrides: Path | None = None) -> str:
    """Render the script that finds the job of a `run` whose submission is uncertain, or prevents its submission.

    The script prints the job id, which can then be cancelled as usual.

    Args:
        cluster: The cluster.
        run: The run.
        lock_timeout: Maximum time in seconds to wait for a submission of the run that is in progress on the login node.
        overrides: The project's folder, which is checked for templates that no longer exist; None for no check.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: The project replaces a template that no longer exists.
    """
    refuse_former(overrides)
    is_array = run.scheduler == "slurm" and run.tasks > 1
    values: dict[str, Value] = {
        "run_id": run.id,
        "scheduler": run.scheduler,
        **({"tasks": run.tasks} if is_array else {}),
        "is_array": is_array,
        "lock_timeout": str(lock_timeout),
        "image_cache_owners": cluster.image_cache_owners,
    }
    chunks = ("slurm/chunks.sh",) if is_array else ()
    return Script(
        title=f"Find the job of run {run.id}, whose submission is uncertain, or prevent its submission.",
        about=ABOUT_REVOKE,
        values=values,
        functions=(set_paths(cluster),),
        before_setup=("variables.sh",),
        setup=Setup(lines=cluster.setup, must_succeed=True),
        files=(*FILES["revoke"], *FILES[f"{run.scheduler}-lookup"], *chunks, *FIND, "find_jobs.sh"),
    ).text()
