"""Forward the standard error of a script on a login node, and extract its error message."""

from hpcdeploy.limits import Lines
from hpcdeploy.transport.contract import Completed, Output, ignore_output

_ERROR = "error: "


class ErrorOutput:
    """Forward a script's standard error line by line, except for a final error line, which becomes the error message."""

    def __init__(self, report: Output) -> None:
        self._report = report
        self._open = Lines()
        self._error = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes."""
        for line in self._open.take(piece):
            self._line(line + b"\n")

    def message(self, completed: Completed) -> str:
        """Return the error message of a script that `completed`: only its error line if the other lines were forwarded."""
        self._line(self._open.rest())
        if completed.exit_code and self._error and self._report is not ignore_output:
            return self._error.decode("utf-8", "replace").strip().removeprefix(_ERROR)
        self._pass(self._error)
        return last_lines(completed.stderr)

    def _line(self, line: bytes) -> None:
        if not line:
            return
        self._pass(self._error)  # it was not the last line
        self._error = line if line.startswith(_ERROR.encode()) else b""
        self._pass(b"" if self._error else line)

    def _pass(self, line: bytes) -> None:
        if line:
            self._report(line)


def last_lines(stderr: bytes) -> str:
    """Return the last lines of standard error: the script's own error line, and the scheduler's output before it."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(line.removeprefix(_ERROR) for line in lines[-4:]) or "the login node's script failed without a message"
