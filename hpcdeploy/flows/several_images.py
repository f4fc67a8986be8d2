"""Process several images at once, each in its own process, one after the other or in parallel.

A build has child processes (Apptainer), a connection and a progress display. A process can be ended with all of them, and
its errors do not affect the others. A task is the same command that a user would run for one image.
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
    """The command for the image `name`."""

    name: str
    argv: tuple[str, ...]


@frozen
class Ended:
    """The result of a task: exit code (128 + n for signal n), standard output, error message."""

    name: str
    exit_code: int
    output: str
    error: str = ""


Say = Callable[[str, str], None]
"""Receive the name of a task and a line of its standard error."""


def run_each(tasks: Sequence[Task], *, jobs: int, say: Say) -> list[Ended]:
    """Run all of `tasks`, at most `jobs` at a time, and return their results in order; a failure does not stop the others.

    An exception (Ctrl-C) ends the running ones with SIGTERM, waits for them, and starts no more; a second one kills them.
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
    """The running processes."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._ending = False

    def run(self, task: Task) -> Ended:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            with self._lock:
                if self._ending:
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
                        if not self._ending:
                            self._say(task.name, message)
            code = process.wait()
            with self._lock:
                self._processes.discard(process)
            output.seek(0)
            exit_code = code if code >= 0 else 128 - code
            return Ended(name=task.name, exit_code=exit_code, output=output.read(), error="\n".join(error))

    def end(self, number: signal.Signals) -> None:
        with self._lock:
            self._ending = True
            for process in self._processes:
                process.send_signal(number)
