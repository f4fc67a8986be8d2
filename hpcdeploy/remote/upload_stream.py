"""Render the script that receives a staged file, and send it the file's bytes."""

import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, HpcdeployError, SchedulerError
from hpcdeploy.limits import Lines
from hpcdeploy.progress import Progress
from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.remote.answers import number_of, read_answer
from hpcdeploy.remote.script_parts import ABOUT_RECEIVE, DATA_FOLLOWS, FILES, on_cluster, setup_for
from hpcdeploy.shell_script import Script, Setup, Value, paths_function
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.templates import refuse_former

Supplier = Callable[[int], Iterator[bytes]]
"""A function that returns a file's bytes from an offset on, in pieces of any size."""

_BLOCK = 8 * (32 * 1024 - 64)
"""Number of bytes to read at once: eight full SSH packets (`hpcdeploy.transport.ssh_copy.PIECE`)."""


def supplier_of(file: StagedFile) -> Supplier:
    """Return a function that reads the bytes of a staged file from its source (a file, or a registry)."""
    if file.source.startswith("oras://"):
        registry = registry_of(file.source)
        return lambda offset: registry.stream(file.sha256, file.size, offset)
    path = Path(file.source)

    def from_file(offset: int) -> Iterator[bytes]:
        with path.open("rb") as source:
            source.seek(offset)
            while block := source.read(_BLOCK):
                yield block

    return from_file


def changed(file: StagedFile) -> ConfigError:
    """Return the error for a staged file whose source has changed."""
    return ConfigError(
        f"{file.source} has changed since the job was planned (sha256 {file.sha256}, {file.size} bytes), "
        f"so {file.what} was not uploaded; submit the job again"
    )


class UploadStream:
    """One upload attempt: send the script, wait until it reports how many bytes of the file are present, send the rest.

    Attributes:
        answered: Whether the script has reported how many bytes are present.
        present: The number of bytes that the login node had before this attempt; 0 until the script has reported it.
        error: The error that ended the attempt early: the source cannot be read, or the report is malformed.
    """

    def __init__(self, script: bytes, file: StagedFile, progress: Progress) -> None:
        self._script = script
        self._file = file
        self._progress = progress
        self._lines = Lines(limits.SCRIPT.stdout)
        self._have: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.answered = False
        self.present = 0
        self.error: HpcdeployError | None = None

    def take(self, piece: bytes) -> None:
        """Process output of the script. A malformed answer ends the attempt."""
        for line in self._lines.take(piece):
            try:
                if (answer := read_answer(line)) is None:
                    continue
                self.present = number_of(answer, "have")
            except ValueError as error:
                self.error = SchedulerError(
                    f"{self._file.what} was not uploaded: {error}; submit again, or contact the site"
                )
                self.end()
                return
            self.answered = True
            self._have.put(self.present)

    def end(self) -> None:
        """Stop `pieces`, which waits in another thread for the script's report, because the report may never come."""
        self._have.put(None)

    def pieces(self) -> Iterator[bytes]:
        """Yield the standard input of the remote shell. The transport calls this in a separate thread."""
        yield self._script
        done, size = self._have.get(), self._file.size
        if done is None:
            return
        self._progress(done, size)
        if done >= size:
            return
        try:
            for piece in supplier_of(self._file)(done):
                yield piece[: size - done]
                done += len(piece)
                self._progress(min(done, size), size)
                if done >= size:
                    return
            self.error = changed(self._file)
        except OSError as error:
            self.error = ConfigError(
                f"{self._file.what} cannot be read: {error.strerror or error} ({self._file.source}); "
                "expected the file that the job was planned with: restore it, or submit the job again"
            )
        except HpcdeployError as error:
            self.error = error


def receiving(staged: StagedFile, cluster: Cluster, *, silence_timeout: int = 120, overrides: Path | None = None) -> str:
    """Render the script that receives a file, whose bytes follow the script on standard input.

    If an earlier call received a part of the file, the script receives the rest.

    Args:
        staged: The file.
        cluster: The cluster.
        silence_timeout: Maximum time in seconds without data. After that the script keeps the received bytes and exits,
            because the client probably no longer runs.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    script = upload_script(staged, cluster, {"size": staged.size, "silence_timeout": silence_timeout})
    title = "Receive a file, whose bytes follow this script on standard input."
    return replace(script, title=title, about=ABOUT_RECEIVE, files=FILES["receive"]).text()


def upload_script(staged: StagedFile, cluster: Cluster, values: Mapping[str, Value]) -> Script:
    """Return a script that receives an upload; the caller adds its title and its library files."""
    return Script(
        title="",
        values={
            "what": staged.what,
            "sha256": staged.sha256,
            "image_cache_owners": cluster.image_cache_owners,
            **values,
        },
        functions=(paths_function("set_paths", {"file": on_cluster(staged.path, cluster)}),),
        setup=Setup(lines=setup_for(cluster, cluster.root, staged.path)),
        files=(),
        reads_input=True,
        call=DATA_FOLLOWS,
    )
