"""Several images at once: each in a process of its own, one after the other or some at a time.

A build holds children of its own (Apptainer), a connection, a terminal's progress: as a process it can be ended whole, and
what goes wrong in one touches no other. A task is the very command that a person would type for one image.
"""

import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

ERROR = "error: "
"""How a command of ours begins the message that it ends with; it may have several lines."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be run for the image `name`."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended: exit code (128 and the signal's number where a signal ended it), standard output, error message."""

    name: str
    exit_code: int
    output: str
    error: str = ""


Say = Callable[[str, str], None]
"""Takes the name of a task and a line that it said on its standard error, as it comes."""


def run_each(tasks: Sequence[Task], *, jobs: int, say: Say) -> list[Ended]:
    """Run all of `tasks`, at most `jobs` at a time, and tell how each ended, in their order; none stops another.

    An exception in between (a Ctrl-C) ends those that run, waits until they have cleaned up, and starts no more; a second
    one waits no longer.
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
    """The processes that run now."""

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
                    words = line.rstrip("\n")
                    if words.startswith(ERROR):
                        error = [words.removeprefix(ERROR)]
                    elif error:
                        error.append(words)
                    with self._lock:
                        if not self._ending:
                            self._say(task.name, words)
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
