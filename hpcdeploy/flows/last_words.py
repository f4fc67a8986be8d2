"""What a script on a login node says on its error stream: to the person as it comes, and of it what an error says."""

from hpcdeploy.errors import HpcdeployError, SchedulerError
from hpcdeploy.limits import Lines
from hpcdeploy.login_node import began, never_began
from hpcdeploy.transport.contract import Completed, Output, ignore_output

_ERROR = "error: "


class Listening:
    """Passes on, line by line, what a script says to people, but for an error line at its end, which is the error raised."""

    def __init__(self, report: Output) -> None:
        self._report = report
        self._open = Lines()
        self._error = b""

    def take(self, piece: bytes) -> None:
        """Take what comes."""
        for line in self._open.take(piece):
            self._line(line + b"\n")

    def words(self, completed: Completed) -> str:
        """Return what an error is to say of a script that `completed`: its error line only, where the rest was passed on."""
        self._line(self._open.rest())
        if completed.exit_code and self._error and self._report is not ignore_output:
            return self._error.decode("utf-8", "replace").strip().removeprefix(_ERROR)
        self._pass(self._error)
        return last_words(completed.stderr)

    def _line(self, line: bytes) -> None:
        if not line:
            return
        self._pass(self._error)  # it was not the last one
        self._error = line if line.startswith(_ERROR.encode()) else b""
        self._pass(b"" if self._error else line)

    def _pass(self, line: bytes) -> None:
        if line:
            self._report(line)


def last_words(stderr: bytes) -> str:
    """Pick what a person needs of the script's words: its own error line, and what the scheduler printed before it."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(line.removeprefix(_ERROR) for line in lines[-4:]) or "the login node's script failed and said nothing"


def check_began(completed: Completed, where: str, error: type[HpcdeployError] = SchedulerError) -> None:
    """Raise `error` if the login shell on `where` ended before it read the script, so that nothing was done."""
    if not began(completed.stdout, completed.stderr):
        raise error(never_began(where, completed.stderr))
