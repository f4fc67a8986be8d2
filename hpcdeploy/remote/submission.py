"""Run a submission script on a login node, repeatedly if necessary, so that its run is submitted exactly once."""

import time
from collections.abc import Callable, Mapping, Sequence

from hpcdeploy import limits
from hpcdeploy.errors import (
    ConnectionLostError,
    HpcdeployError,
    SchedulerError,
    TransportError,
    UncertainSubmissionError,
)
from hpcdeploy.progress import NO_FEEDBACK, Feedback
from hpcdeploy.remote.answers import SUBMITTING, ExitCode, Submission, read_submission
from hpcdeploy.remote.session import ScriptResult, Session
from hpcdeploy.run import Run
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Output

_MOST_UPLOADS = 4
"""Maximum number of times that missing files are uploaded. If the script then still requests files, it does not see them."""

_Needed = Sequence[Mapping[str, object]]


def submit_once(
    run: Run,
    script: str,
    session: Session,
    uploads: Sequence[StagedFile],
    *,
    feedback: Feedback = NO_FEEDBACK,
    again: bool = False,
) -> Submission:
    """Run a submission script until it has submitted the run.

    If the script reports missing files, these are uploaded, and the script is run again. After a lost connection the script
    is run again as well, because it is idempotent.

    Args:
        run: The run.
        script: The submission script of the run.
        session: A session with the cluster.
        uploads: The files of the run; those that are missing on the cluster are uploaded.
        feedback: Shows messages and the progress of an upload.
        again: Whether an earlier call may have submitted the run. Then the script first looks for the run's job, and the
            checksums of files are compared before the files are uploaded.

    Raises:
        SchedulerError: The run was not submitted: the script failed, or the scheduler rejected the job.
        UncertainSubmissionError: The run may have a job; submitting the same run again is safe.
        TransportError: No connection could be opened, or an upload failed; the run was not submitted.
        ConfigError: A file to upload cannot be read, or has changed; the run was not submitted.
    """
    submission = _Submission(run, script, session, feedback.report, again=again)

    def upload_files(needed: _Needed) -> None:
        from hpcdeploy.remote.upload import upload  # most submissions find all files on the cluster

        upload(needed, uploads, session, report=feedback.report, carrying=feedback.carrying, check=again)

    return submission.run(upload_files)


class _Submission:
    """One submission of a run.

    If the connection was lost while the script ran, that call of the script may still submit the run. So the error of each
    later call is reported as an uncertain submission.
    """

    def __init__(self, run: Run, script: str, session: Session, report: Output, *, again: bool) -> None:
        self._run = run
        self._script = script
        self._session = session
        self._report = report
        self._again = again
        self._lost: TransportError | None = None

    def run(self, upload_files: Callable[[_Needed], None]) -> Submission:
        """Run the script, and upload the files that it requests, until it has submitted the run."""
        try:
            return self._run_until_submitted(upload_files)
        except UncertainSubmissionError:
            raise
        except HpcdeployError as error:
            if self._lost is None:
                raise
            raise self._uncertain(error) from error

    def _run_until_submitted(self, upload_files: Callable[[_Needed], None]) -> Submission:
        submission = self._run_script()
        uploads = 0
        while submission.needs is not None:
            if uploads == _MOST_UPLOADS:
                raise SchedulerError(
                    f"the files uploaded for run {self._run.id} are not visible on the login node: "
                    f"{', '.join(str(need['path']) for need in submission.needs)}; "
                    "check that all login nodes share the cluster's root"
                )
            upload_files(submission.needs)
            uploads += 1
            submission = self._run_script()
        return submission

    def _run_script(self) -> Submission:
        """Run the script, and run it again after a lost connection, until it answers or there is no attempt left."""
        for pause in (0, *self._session.retry.pauses):
            time.sleep(pause)
            shell = (*SUBMITTING, *(("again",) if self._again or self._lost else ()))
            try:
                result = self._session.run(self._script, shell=shell, report=self._report, limit=limits.SUBMISSION)
                return _read(result, self._run)
            except TransportError as error:
                self._session.reconnect()
                if self._lost is None and not isinstance(error, ConnectionLostError):
                    raise
                self._lost = error
                self._report(f"{error}; trying again\n".encode())
        assert self._lost is not None
        raise self._lost

    def _uncertain(self, error: HpcdeployError) -> UncertainSubmissionError:
        return UncertainSubmissionError(
            f"the connection was lost while run {self._run.id} was being submitted ({error}); it is unknown whether "
            f"the run has a job. Run 'hpcdeploy submit --resume {self._run.id}': it finds the job or submits it, once"
        )


def _read(result: ScriptResult, run: Run) -> Submission:
    """Return the answer of a submission script, or raise the error for its exit code."""
    if result.signal:
        raise ConnectionLostError(f"the script of run {run.id} was killed by signal {result.signal} on the login node")
    match result.exit_code:
        case ExitCode.DONE | ExitCode.FILES_NEEDED:
            try:
                answer = result.answer()
                if answer is not None:
                    return read_submission(answer, run)
                reason = f"it printed no result; standard error ends: {result.end_of_errors or '(nothing)'}"
            except ValueError as error:
                reason = str(error)
            raise UncertainSubmissionError(
                f"the script of run {run.id} ran on the login node, but it is unknown whether the run has a job: {reason}. "
                f"Run 'hpcdeploy submit --resume {run.id}': it finds the job or submits it, once"
            )
        case ExitCode.CANCELLED:
            return Submission(run=run, cancelled=result.message)
        case ExitCode.UNKNOWN:
            raise UncertainSubmissionError(
                f"{result.message}. Run 'hpcdeploy submit --resume {run.id}' later: it finds the job or submits it, once"
            )
        case _:
            raise SchedulerError(result.message)
