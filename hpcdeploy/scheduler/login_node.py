"""The scripts that a login node is given: each one self-contained text, rendered from values alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy import __version__, limits, shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Array, Bind, Job, Predecessor
from hpcdeploy.parameters import VARIABLE, Parameters, Placeholder, pieces, task_line
from hpcdeploy.parcel import Parcel
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.scheduler.placing import Placement, can_mount, placing_values
from hpcdeploy.templates import render

_FILTERS: dict[str, Callable[..., str]] = {"word": shell.word, "words": shell.words, "path": shell.path}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The image as a login node needs to know it.

    ``sha256`` is the file's own; ``reference`` is where to pull it (``oras://...@sha256:...``), empty where it was never
    pushed; ``host`` and ``port`` are those of that registry. ``size`` is in bytes. ``plain_http``: the registry speaks no
    TLS. ``parcel`` is the image as hpcdeploy can bring it, which it does where it cannot be pulled. ``in_job``: it is pulled
    on the compute node, from ``place`` where that is no ``oras://`` reference (HTCondor). Without reference, place and
    parcel it must be in the cluster's cache already.
    """

    sha256: str
    reference: str = ""
    size: int = 0
    host: str = ""
    port: int = 443
    plain_http: bool = False
    in_job: bool = False
    place: str = ""
    parcel: Parcel | None = None

    @property
    def fetched_from(self) -> str:
        """What a worker is told to get the image from; empty where it is brought to it."""
        return self.place or (self.reference if self.in_job else "")

    @property
    def arrives_as(self) -> str:
        """The file's name in the job's own folder on the worker, where HTCondor transfers it from an address."""
        by_starter = self.place.startswith(("/", "docker://", "oras://"))
        return "" if by_starter else self.place.rpartition("/")[2]

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """The image among what is to be brought, if it is."""
        return () if self.parcel is None else (self.parcel,)


def submission(
    run: Run,
    job: Job,
    cluster: Cluster,
    delivery: Delivery,
    *,
    parcels: Sequence[Parcel] = (),
    placements: Sequence[Placement] = (),
    after: Sequence[Predecessor] = (),
    overrides: Path | None = None,
) -> str:
    """Render the script that delivers the image and submits `run`, once however often it is run, to start after `after`.

    Before it submits, it tells which of the `parcels`, of those of `placements` and of `delivery`, are not there, so
    that they can be brought (`receiving`).
    Raises `ConfigError` for what the scheduler has no word for, `TemplateError` for a broken template.
    """
    words = scheduler_of(run.scheduler)
    needed = {parcel.path: parcel for parcel in (*delivery.parcels, *parcels, *(one.parcel for one in placements))}
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
        "binds": [_whole(bind) for bind in (*cluster.binds, *job.binds)],
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
        **words.job_values(job, cluster, run.id),
    }
    folder = f"{run.scheduler}_templates"
    values["program"] = _program(values, parameters, overrides).rstrip("\n")
    values["job_script"] = _render(f"{folder}/{words.JOB_TEMPLATE}", values, overrides).rstrip("\n")
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
        # SingularityCE knows only its own prefix; Apptainer would warn about it.
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
        "brought": delivery.parcel is not None,
    }


def receiving(parcel: Parcel, cluster: Cluster, *, patience: int = 120, overrides: Path | None = None) -> str:
    """Render the script that takes a parcel's bytes after its own, from where an earlier call stopped.

    After `patience` seconds in which nothing comes it keeps what it has and ends: the client is gone.
    """
    values = {**_arriving(parcel, cluster, patience), "size": parcel.size, "lane": ""}
    return _render("login_templates/receive.sh", values, overrides)


def receiving_lane(
    parcel: Parcel,
    stretch: range,
    cluster: Cluster,
    *,
    waits: bool = False,
    patience: int = 120,
    overrides: Path | None = None,
) -> str:
    """Render the script that takes a `stretch` of a parcel's bytes after its own, for `receiving` to put into its place.

    It `waits` until nobody else is at that stretch, or gives up at once.
    """
    lane = f".{stretch.start}" if stretch.start else ""  # the first needs no putting
    values = {
        **_arriving(parcel, cluster, patience),
        "size": len(stretch),
        "whole": parcel.size,
        "lane": lane,
        "waits": waits,
    }
    return _render("login_templates/lane.sh", values, overrides)


def _arriving(parcel: Parcel, cluster: Cluster, patience: int) -> dict[str, object]:
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
    """Render the script that tells where `runs` are, all of one scheduler; `fence` is a word that nobody can foresee.

    `over` are the tasks of each run, by its id, whose end is known: nothing is said of them again.
    """
    values = {
        **_place(cluster, scheduler),
        "fence": fence,
        "run_ids": tuple(run.id for run in runs),
        "job_ids": tuple(part.job_id for run in runs for part in run.parts),
        "asked": tuple(line for run in runs for line in _asked(run, (over or {}).get(run.id, ()))),
        "since": int(min(run.submitted for run in runs)),
        "most": limits.following(sum(run.tasks for run in runs)).stdout,
        "most_in_all": limits.ALL_JOBS,
        **scheduler_of(scheduler).follow_values(),
    }
    return _render("login_templates/follow.sh", values, overrides)


def _asked(run: Run, over: Iterable[int]) -> Iterator[str]:
    """Write what is asked of each of a run's jobs: number, run, tasks, those that ended, and the run's first in it."""
    ended = frozenset(over)
    for part in run.parts:
        known = spans(task for task in range(part.tasks) if part.first + task in ended)
        yield f"{part.job_id}|{run.id}|{part.tasks}|{known}|{part.first}"


def spans(numbers: Iterable[int]) -> str:
    """Write whole numbers as a login node's awk reads them, ``0-57,60``; none at all is ``-``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in found) or "-"


def cancelling(cluster: Cluster, runs: Sequence[Run], *, overrides: Path | None = None) -> str:
    """Render the script that cancels `runs`, all of one scheduler, and notes in their folders that they were."""
    scheduler = runs[0].scheduler
    values = {
        **_place(cluster, scheduler),
        "run_ids": tuple(run.id for run in runs),
        "parts": tuple(part for run in runs for part in run.parts),
        "jobs": tuple((run.id, part) for run in runs for part in run.parts),
    }
    return _render("login_templates/cancel.sh", values, overrides)


def revoking(cluster: Cluster, run: Run, *, patience: int = 30, overrides: Path | None = None) -> str:
    """Render the script that finds the job of `run`, which nobody is sure of, or sees to it that it gets none.

    It answers with the job's number, to be cancelled as any other's. A submission of the run that is alive over there is
    waited for, `patience` seconds.
    """
    values = {
        **_place(cluster, run.scheduler),
        **_cluster_values(cluster),
        "run_id": run.id,
        "tasks": run.tasks,
        "in_parts": run.scheduler == "slurm" and run.tasks > 1,
        "patience": patience,
    }
    return _render("login_templates/revoke.sh", values, overrides)


LOG_PIECE = 1024 * 1024
"""Bytes that are read at once of each stream, at most: nobody's memory, and no line that is told, grows with the log."""


def log_piece(tasks: int) -> int:
    """Return how many bytes are read at once of each stream of `tasks` tasks, so that all are no more than is held."""
    return max(1, min(LOG_PIECE, limits.LOGS_AT_ONCE // (2 * max(1, tasks))))


def reading_logs(
    cluster: Cluster, run: Run, wanted: Iterable[tuple[int, int, int]], fence: str, *, overrides: Path | None = None
) -> str:
    """Render the script that prints what tasks wrote: each item of `wanted` is a task, and how many bytes of its output and
    of its error stream are known. Of each at most `log_piece` bytes are printed."""
    wanted = tuple(wanted)
    values = {
        **_place(cluster, run.scheduler),
        "setup": _setup_for(cluster, cluster.root),
        "run_id": run.id,
        "wanted": tuple(f"{task} {out + 1} {err + 1}" for task, out, err in wanted),
        "limit": log_piece(len(wanted)),
        "fence": fence,
    }
    return _render("login_templates/logs.sh", values, overrides)


def listing(cluster: Cluster, run: Run, patterns: tuple[str, ...], fence: str, *, overrides: Path | None = None) -> str:
    """Render the script that lists what a run wrote: the files that `patterns` mean in each task's working folder.

    Without `patterns` it is what the job's outputs say, or all that lies in the run's own folder; and the logs.
    """
    chosen = patterns or run.outputs
    alone = [f"./{pattern}" for pattern in chosen] if run.tasks == 1 or run.workdir else []
    of_tasks = [] if run.workdir else [f"./[0-9]*/{pattern}" for pattern in chosen]
    nothing_said = () if run.workdir else (".",)
    values = {
        **_place(cluster, run.scheduler),
        "setup": _setup_for(cluster, cluster.root, run.workdir or ""),
        "run_id": run.id,
        "workdir": shell.path(run.workdir) if run.workdir else "",
        "patterns": (*alone, *of_tasks) if chosen else nothing_said,
        "with_logs": not patterns,
        "fence": fence,
    }
    return _render("login_templates/list.sh", values, overrides)


def _place(cluster: Cluster, scheduler: SchedulerName) -> dict[str, object]:
    return {"version": __version__, "scheduler": scheduler, "root": shell.path(cluster.root), "setup": cluster.setup}


def _setup_for(cluster: Cluster, *paths: str) -> tuple[str, ...]:
    """Return the cluster's setup for a script that only needs `paths`: without variables in them it has no use for it.

    The same lines may set these variables for `submission`, and loading modules can take a second (`module load`).
    """
    return cluster.setup if any(set(shell.variables(path)) - {"HOME"} for path in paths) else ()


def _task_lines(array: Array | None) -> str:
    """Write the lines that the tasks are told; where each knows all by its own number there are none."""
    if array is None or not (array.parameters or array.numbers):
        return ""
    numbers = array.numbers or range(array.size)
    rows = [array.parameters.of(task) for task in range(array.size)] if array.parameters else [{}] * array.size
    return "\n".join(task_line(number, row) for number, row in zip(numbers, rows, strict=True))


def _program(values: Mapping[str, object], parameters: Parameters | None, overrides: Path | None) -> str:
    """Render what runs in the container; in a sweep its words are quoted around the parameters that stand in them."""
    if parameters is None:
        return _render("login_templates/program.sh", values, overrides)

    def swept(text: str) -> str:
        found = pieces(text, parameters.names)
        return "".join(
            f'"${VARIABLE}{piece.name}"' if isinstance(piece, Placeholder) else shell.word(piece) for piece in found if piece
        ) or shell.word("")

    filters = {**_FILTERS, "word": swept, "words": lambda texts: " ".join(map(swept, texts))}
    return render("login_templates/program.sh", values, filters=filters, overrides=overrides)


def _whole(bind: Bind) -> Bind:
    return replace(bind, destination=bind.destination or bind.source)


def _render(name: str, values: Mapping[str, object], overrides: Path | None) -> str:
    return render(name, values, filters=_FILTERS, overrides=overrides)


def _made_of(parcel: Parcel, cluster: Cluster) -> str:
    return _on_cluster(parcel.becomes, cluster) if parcel.becomes else ""


def _on_cluster(path: str, cluster: Cluster) -> str:
    """Return `path`, relative to the cluster's root where it is relative, as a shell word of the login node."""
    return shell.path(path if path.startswith(("/", "$", "~/")) else f"{cluster.root}/{path}")
