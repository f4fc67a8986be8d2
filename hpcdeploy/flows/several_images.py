"""Build or push several images, each in its own process, one after the other or in parallel.

A task runs the same command that a user would run for one image. A build has child processes (Apptainer), a connection and a
progress display. In its own process, a build can be ended together with these, and its errors do not affect other builds.
"""

import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hpcdeploy.frozen import frozen

ERROR = "error: "
"""Prefix of the final error message of an hpcdeploy command; the message may have several lines."""


@frozen
class Task:
    """The command (`argv`) that builds or pushes the image `name`."""

    name: str
    argv: tuple[str, ...]


@frozen
class Ended:
    """The result of a task.

    Attributes:
        name: The image's name.
        exit_code: The exit code of the command; 128 + n if signal n killed it.
        output: The command's standard output.
        error: The command's final error message; empty if it printed none.
    """

    name: str
    exit_code: int
    output: str
    error: str = ""


Say = Callable[[str, str], None]
"""Receive the name of a task and a line of its standard error."""


def run_each(tasks: Sequence[Task], *, jobs: int, say: Say) -> list[Ended]:
    """Run all `tasks`, at most `jobs` at a time, and return their results in the order of `tasks`.

    If a task fails, the other tasks still run. On an exception (Ctrl-C), no more tasks are started, and the running tasks
    get SIGTERM and are awaited. On a second exception, they get SIGKILL.
    """
    running = _Running(say)
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="image")
    try:
        return [future.result() for future in [pool.submit(running.run, task) for task in tasks]]
    except BaseException:
        running.end(signal.SIGTERM)
        try:
            pool.shutdown(cancel_futures=True)
        except BaseException:
            running.end(signal.SIGKILL)
            raise
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def first_failure(ended: Sequence[Ended]) -> int:
    """Return the exit code of the first task that failed, or 0."""
    return next((one.exit_code for one in ended if one.exit_code), 0)


class _Running:
    """The processes of the running tasks; methods may be called from several threads."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._is_ending = False

    def run(self, task: Task) -> Ended:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            with self._lock:
                if self._is_ending:
                    return Ended(name=task.name, exit_code=128 + signal.SIGTERM, output="", error="not started")
                process = subprocess.Popen(
                    task.argv, stdout=output, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
                )
                self._processes.add(process)
            assert process.stderr is not None
            error: list[str] = []
            with process.stderr:
                for line in process.stderr:
                    message = line.rstrip("\n")
                    if message.startswith(ERROR):
                        error = [message.removeprefix(ERROR)]
                    elif error:
                        error.append(message)
                    with self._lock:
                        if not self._is_ending:
                            self._say(task.name, message)
            code = process.wait()
            with self._lock:
                self._processes.discard(process)
            output.seek(0)
            exit_code = code if code >= 0 else 128 - code
            return Ended(name=task.name, exit_code=exit_code, output=output.read(), error="\n".join(error))

    def end(self, number: signal.Signals) -> None:
        with self._lock:
            self._is_ending = True
            for process in self._processes:
                process.send_signal(number)
