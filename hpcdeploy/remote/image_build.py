"""Run the script that builds an image on a login node, and return its answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hpcdeploy import limits
from hpcdeploy.apptainer import build_script
from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.remote.answers import STREAM_SHELL, Answer
from hpcdeploy.remote.session import Session


def run_build(stdin: bytes, session: Session, show: Show, failure: Callable[[str, Sequence[str]], str]) -> Answer:
    """Run the script that builds an image, and return its answer.

    Args:
        stdin: The script, followed by the values of the secrets.
        session: A session with the cluster.
        show: Receives the build's output, and masks the values of secrets in it.
        failure: Returns the message for a failed build, from the machine's name and the last lines of output.

    Raises:
        BuildError: The build failed, or the answer is malformed.
        MissingProgramError: A program that the script needs, such as Apptainer, is not installed on the login node.
        TransportError: The connection failed.
    """
    result = session.stream(STREAM_SHELL, stdin=stdin, on_stderr=show.piece, limit=limits.BUILD)
    show.end(failed=result.exit_code != 0)
    try:
        answer = result.answer()
    except ValueError as error:
        raise BuildError(f"{show.mask(str(error))}; run the same command again") from None
    if result.exit_code == 0 and answer is not None:
        return answer
    if result.exit_code == build_script.FAILED:
        raise BuildError(failure(result.where, tuple(show.tail)))
    # Secrets are masked here too, because they are in the standard input, which a wrong shell may print in its errors.
    masked = replace(result.completed, stderr=show.mask(result.completed.stderr.decode("utf-8", "replace")).encode())
    replace(result, completed=masked).check_began(BuildError)
    # All error lines are shown, because a failing setup line may print an error before the script prints its own.
    errors = "; ".join(line.removeprefix("error: ") for line in show.tail if line.startswith("error: "))
    if "is not on this machine's PATH" in errors:
        raise MissingProgramError(f"{result.where}: {errors}")
    message = errors or " / ".join(list(show.tail)[-3:]) or "(no message)"
    raise BuildError(f"{result.where}: the build script failed with exit code {result.exit_code}: {message}")


def unexpected(answer: Mapping[str, object], where: str, show: Show) -> BuildError:
    """Return the error for an `answer` that does not name a built image."""
    shown = show.mask(repr(dict(answer)))[:500]
    return BuildError(f"{where} answered {shown}; expected a built image; run the same command again")
