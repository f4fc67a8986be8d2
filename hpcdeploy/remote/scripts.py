"""Render the scripts that run on a login node: each is self-contained text and depends only on its arguments."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy import __version__, limits, shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Array, Bind, Job, Predecessor
from hpcdeploy.parameters import VARIABLE, Parameters, Placeholder, pieces, task_line
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.staged_files import Placement, StagedFile, can_mount, placing_values
from hpcdeploy.templates import render

_FILTERS: dict[str, Callable[..., str]] = {"word": shell.word, "words": shell.words, "path": shell.path}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the image gets to the cluster.

    Without `reference`, `place` and `upload`, the image must already be in the cluster's cache.

    Attributes:
        sha256: The checksum of the image file.
        reference: The address to pull it from (``oras://...@sha256:...``); empty if it was never pushed.
        size: Its size in bytes.
        host: The host of its registry.
        port: The port of its registry.
        plain_http: The registry does not use TLS.
        in_job: It is pulled on the compute node, from `place` if that is set (HTCondor).
        place: An address that is not an ``oras://`` reference, or a path.
        upload: The image as an upload, for use if it cannot be pulled.
    """

    sha256: str
    reference: str = ""
    size: int = 0
    host: str = ""
    port: int = 443
    plain_http: bool = False
    in_job: bool = False
    place: str = ""
    upload: StagedFile | None = None

    @property
    def fetched_from(self) -> str:
        """The address that a worker gets the image from; empty if the image is sent to the worker."""
        return self.place or (self.reference if self.in_job else "")

    @property
    def arrives_as(self) -> str:
        """The file's name in the job's own folder on the worker, if HTCondor transfers it from a URL."""
        by_starter = self.place.startswith(("/", "docker://", "oras://"))
        return "" if by_starter else self.place.rpartition("/")[2]

    @property
    def uploads(self) -> tuple[StagedFile, ...]:
        """The upload of the image, if there is one."""
        return () if self.upload is None else (self.upload,)


def submission(
    run: Run,
    job: Job,
    cluster: Cluster,
    delivery: Delivery,
    *,
    parcels: Sequence[StagedFile] = (),
    placements: Sequence[Placement] = (),
    after: Sequence[Predecessor] = (),
    overrides: Path | None = None,
) -> str:
    """Render the script that provides the image and submits `run` exactly once, however often the script runs.

    Before it submits, the script reports which uploads of `parcels`, `placements` and `delivery` are missing on the
    cluster, so that they can be uploaded (`receiving`).

    Args:
        run: The run.
        job: Its job.
        cluster: The cluster.
        delivery: How the image gets there.
        parcels: Other uploads that the job needs.
        placements: Code and inputs.
        after: Runs that must end before this one starts.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: The scheduler does not support a setting of the job.
        TemplateError: A template is broken.
    """
    module = scheduler_of(run.scheduler)
    needed = {parcel.path: parcel for parcel in (*delivery.uploads, *parcels, *(one.upload for one in placements))}
    parameters = job.array.parameters if job.array else None
    values: dict[str, object] = {
        "version": __version__,
        "scheduler": run.scheduler,
        "run_id": run.id,
        **_cluster_values(cluster),
        **_image_values(delivery),
        "patience": 0,
        "parcels": [(parcel, _on_cluster(parcel.path, cluster), _made_of(parcel, cluster)) for parcel in needed.values()],
        "command": job.command,
        "environment": job.environment,
        "binds": [_with_destination(bind) for bind in (*cluster.binds, *job.binds)],
        "workdir": shell.path(job.workdir) if job.workdir else "",
        "after": after,
        "array": job.array is not None,
        "parameters": parameters.names if parameters else (),
        "task_lines": _task_lines(job.array),
        "tasks": run.tasks,
        "nodes": job.resources.nodes,
        "torchrun": None,
        "notes_begin": False,
        "warning": None,
        "end_of_job": f"HPCDEPLOY_END_{run.id.rpartition('-')[2]}",
        **placing_values(placements, job.outputs, mounts=can_mount(run.scheduler, cluster)),
        **module.job_values(job, cluster, run.id),
    }
    folder = f"{run.scheduler}_templates"
    values["program"] = _program(values, parameters, overrides).rstrip("\n")
    values["job_script"] = _render(f"{folder}/{module.JOB_TEMPLATE}", values, overrides).rstrip("\n")
    return _render("login_templates/submit.sh", values, overrides)


def _cluster_values(cluster: Cluster) -> dict[str, object]:
    return {
        "root": shell.path(cluster.root),
        "cache": shell.path(cluster.images_folder),
        "tmp": shell.path(cluster.tmp_folder),
        "image_cache_owners": cluster.image_cache_owners,
        "cache_size": (cluster.image_cache_size or 0) * 1024 * 1024,
        "schedulers": cluster.schedulers,
        "setup": cluster.setup,
        "apptainer": cluster.apptainer,
        # SingularityCE accepts only its own prefix; Apptainer would print a warning about it.
        "prefix": "SINGULARITY" if Path(cluster.apptainer).name == "singularity" else "APPTAINER",
    }


def _image_values(delivery: Delivery) -> dict[str, object]:
    return {
        "sha256": delivery.sha256,
        "reference": delivery.reference,
        "size": delivery.size,
        "registry_host": delivery.host,
        "registry_port": delivery.port,
        "plain_http": delivery.plain_http,
        "in_job": delivery.in_job,
        "fetched_from": delivery.fetched_from,
        "arrives_as": delivery.arrives_as,
        "brought": delivery.upload is not None,
    }


def receiving(parcel: StagedFile, cluster: Cluster, *, patience: int = 120, overrides: Path | None = None) -> str:
    """Render the script that receives an upload after its own text, and resumes where an earlier call stopped.

    Args:
        parcel: The upload.
        cluster: The cluster.
        patience: Timeout in seconds without data, after which the script assumes that the client is gone. It then keeps
            the received bytes and exits.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    values = {**_arriving(parcel, cluster, patience), "size": parcel.size, "lane": ""}
    return _render("login_templates/receive.sh", values, overrides)


def receiving_lane(
    parcel: StagedFile,
    stretch: range,
    cluster: Cluster,
    *,
    waits: bool = False,
    patience: int = 120,
    overrides: Path | None = None,
) -> str:
    """Render the script that receives one chunk of an upload after its own text; `receiving` then assembles the chunks.

    Args:
        parcel: The upload.
        stretch: The byte range of the chunk.
        cluster: The cluster.
        waits: Wait for the chunk's lock if another process receives it; otherwise exit at once.
        patience: Timeout in seconds without data.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    suffix = f".{stretch.start}" if stretch.start else ""  # the first chunk is already at its position
    values = {
        **_arriving(parcel, cluster, patience),
        "size": len(stretch),
        "whole": parcel.size,
        "lane": suffix,
        "waits": waits,
    }
    return _render("login_templates/lane.sh", values, overrides)


def _arriving(parcel: StagedFile, cluster: Cluster, patience: int) -> dict[str, object]:
    return {
        "version": __version__,
        "what": parcel.what,
        "sha256": parcel.sha256,
        "path": _on_cluster(parcel.path, cluster),
        "patience": patience,
        "image_cache_owners": cluster.image_cache_owners,
        "setup": _setup_for(cluster, cluster.root, parcel.path),
    }


def following(
    cluster: Cluster,
    scheduler: SchedulerName,
    runs: Sequence[Run],
    fence: str,
    *,
    over: Mapping[str, Iterable[int]] | None = None,
    overrides: Path | None = None,
) -> str:
    """Render the script that prints the state of `runs`.

    Args:
        cluster: The cluster.
        scheduler: The scheduler of all the runs.
        runs: The runs.
        fence: An unpredictable word for the markers in the output.
        over: Finished tasks by run id. The script prints nothing about them.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    values = {
        **_common_values(cluster, scheduler),
        "fence": fence,
        "run_ids": tuple(run.id for run in runs),
        "job_ids": tuple(part.job_id for run in runs for part in run.parts),
        "asked": tuple(line for run in runs for line in _request_lines(run, (over or {}).get(run.id, ()))),
        "since": int(min(run.submitted for run in runs)),
        "most": limits.following(sum(run.tasks for run in runs)).stdout,
        "most_in_all": limits.ALL_JOBS,
        **scheduler_of(scheduler).follow_values(),
    }
    return _render("login_templates/follow.sh", values, overrides)


def _request_lines(run: Run, over: Iterable[int]) -> Iterator[str]:
    """Yield the query for each job of a run: job id, run id, number of tasks, finished tasks, number of its first task."""
    ended = frozenset(over)
    for part in run.parts:
        known = spans(task for task in range(part.tasks) if part.first + task in ended)
        yield f"{part.job_id}|{run.id}|{part.tasks}|{known}|{part.first}"


def spans(numbers: Iterable[int]) -> str:
    """Write whole numbers in the form that awk parses on the login node, such as ``0-57,60``; ``-`` for none."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in found) or "-"


def cancelling(cluster: Cluster, runs: Sequence[Run], *, overrides: Path | None = None) -> str:
    """Render the script that cancels `runs`, all of one scheduler, and records the cancellation in their folders.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    scheduler = runs[0].scheduler
    values = {
        **_common_values(cluster, scheduler),
        "run_ids": tuple(run.id for run in runs),
        "parts": tuple(part for run in runs for part in run.parts),
        "jobs": tuple((run.id, part) for run in runs for part in run.parts),
    }
    return _render("login_templates/cancel.sh", values, overrides)


def revoking(cluster: Cluster, run: Run, *, patience: int = 30, overrides: Path | None = None) -> str:
    """Render the script that finds the job of a `run` whose submission is uncertain, or prevents its submission.

    The script prints the job id, which can then be cancelled as usual.

    Args:
        cluster: The cluster.
        run: The run.
        patience: Maximum time in seconds to wait for a submission of the run that is in progress on the login node.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    values = {
        **_common_values(cluster, run.scheduler),
        **_cluster_values(cluster),
        "run_id": run.id,
        "tasks": run.tasks,
        "in_parts": run.scheduler == "slurm" and run.tasks > 1,
        "patience": patience,
    }
    return _render("login_templates/revoke.sh", values, overrides)


LOG_PIECE = 1024 * 1024
"""Maximum bytes to read at once from each stream, so that neither memory use nor an output line grows with the log."""


def log_piece(tasks: int) -> int:
    """Return the number of bytes to read at once from each stream of `tasks` tasks, so that all fit into memory."""
    return max(1, min(LOG_PIECE, limits.LOGS_AT_ONCE // (2 * max(1, tasks))))


def reading_logs(
    cluster: Cluster, run: Run, wanted: Iterable[tuple[int, int, int]], fence: str, *, overrides: Path | None = None
) -> str:
    """Render the script that prints the output of tasks, at most `log_piece` bytes of each stream.

    Args:
        cluster: The cluster.
        run: The run.
        wanted: Triples of a task, and how many bytes of its standard output and standard error are known.
        fence: An unpredictable word for the markers in the output.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    wanted = tuple(wanted)
    values = {
        **_common_values(cluster, run.scheduler),
        "setup": _setup_for(cluster, cluster.root),
        "run_id": run.id,
        "wanted": tuple(f"{task} {out + 1} {err + 1}" for task, out, err in wanted),
        "limit": log_piece(len(wanted)),
        "fence": fence,
    }
    return _render("login_templates/logs.sh", values, overrides)


def listing(cluster: Cluster, run: Run, patterns: tuple[str, ...], fence: str, *, overrides: Path | None = None) -> str:
    """Render the script that lists the files of a run.

    Args:
        cluster: The cluster.
        run: The run.
        patterns: Patterns of files in each task's working folder. If empty, list the job's outputs (or, without outputs,
            everything in the run's own folder), and the logs.
        fence: An unpredictable word for the markers in the output.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    chosen = patterns or run.outputs
    alone = [f"./{pattern}" for pattern in chosen] if run.tasks == 1 or run.workdir else []
    of_tasks = [] if run.workdir else [f"./[0-9]*/{pattern}" for pattern in chosen]
    default_patterns = () if run.workdir else (".",)
    values = {
        **_common_values(cluster, run.scheduler),
        "setup": _setup_for(cluster, cluster.root, run.workdir or ""),
        "run_id": run.id,
        "workdir": shell.path(run.workdir) if run.workdir else "",
        "patterns": (*alone, *of_tasks) if chosen else default_patterns,
        "with_logs": not patterns,
        "fence": fence,
    }
    return _render("login_templates/list.sh", values, overrides)


def _common_values(cluster: Cluster, scheduler: SchedulerName) -> dict[str, object]:
    return {"version": __version__, "scheduler": scheduler, "root": shell.path(cluster.root), "setup": cluster.setup}


def _setup_for(cluster: Cluster, *paths: str) -> tuple[str, ...]:
    """Return the cluster's setup for a script that only needs `paths`, or nothing if these contain no variables.

    Setup lines may set the variables, as they do for `submission`, but loading modules can take a second (`module load`).
    """
    return cluster.setup if any(set(shell.variables(path)) - {"HOME"} for path in paths) else ()


def _task_lines(array: Array | None) -> str:
    """Return the parameter lines of the tasks; empty if the task number is all that a task needs."""
    if array is None or not (array.parameters or array.numbers):
        return ""
    numbers = array.numbers or range(array.size)
    rows = [array.parameters.of(task) for task in range(array.size)] if array.parameters else [{}] * array.size
    return "\n".join(task_line(number, row) for number, row in zip(numbers, rows, strict=True))


def _program(values: Mapping[str, object], parameters: Parameters | None, overrides: Path | None) -> str:
    """Render the program that runs in the container; in a sweep, its arguments are quoted around their parameters."""
    if parameters is None:
        return _render("login_templates/program.sh", values, overrides)

    def swept(text: str) -> str:
        found = pieces(text, parameters.names)
        return "".join(
            f'"${VARIABLE}{piece.name}"' if isinstance(piece, Placeholder) else shell.word(piece) for piece in found if piece
        ) or shell.word("")

    filters = {**_FILTERS, "word": swept, "words": lambda texts: " ".join(map(swept, texts))}
    return render("login_templates/program.sh", values, filters=filters, overrides=overrides)


def _with_destination(bind: Bind) -> Bind:
    return replace(bind, destination=bind.destination or bind.source)


def _render(name: str, values: Mapping[str, object], overrides: Path | None) -> str:
    return render(name, values, filters=_FILTERS, overrides=overrides)


def _made_of(parcel: StagedFile, cluster: Cluster) -> str:
    return _on_cluster(parcel.becomes, cluster) if parcel.becomes else ""


def _on_cluster(path: str, cluster: Cluster) -> str:
    """Return `path`, below the cluster's root if it is relative, as a shell word for the login node."""
    return shell.path(path if path.startswith(("/", "$", "~/")) else f"{cluster.root}/{path}")
