"""Render the scripts that run on a login node: each is self-contained text and depends only on its arguments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy import limits, shell
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.remote.delivery import Delivery
from hpcdeploy.remote.script_parts import (
    ABOUT_RECEIVE,
    ABOUT_RECEIVE_RECORDS,
    ABOUT_REVOKE,
    DATA_FOLLOWS,
    FILES,
    FIND,
    on_cluster,
    set_paths,
    setup_for,
)
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.shell_script import Script, Setup, Value, library_file, paths_function
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.templates import refuse_former

__all__ = [
    "LOG_PIECE",
    "Delivery",
    "cancelling",
    "following",
    "listing",
    "log_piece",
    "reading_logs",
    "receiving",
    "receiving_records",
    "revoking",
    "spans",
    "submission",
]


def receiving(staged: StagedFile, cluster: Cluster, *, patience: int = 120, overrides: Path | None = None) -> str:
    """Render the script that receives an upload after its own text, and resumes where an earlier call stopped.

    Args:
        staged: The upload.
        cluster: The cluster.
        patience: Timeout in seconds without data, after which the script assumes that the client is gone. It then keeps
            the received bytes and exits.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    script = _upload_script(staged, cluster, {"size": staged.size, "silence_timeout": patience})
    title = "Receive a file, whose bytes follow this script on standard input."
    return replace(script, title=title, about=ABOUT_RECEIVE, files=FILES["receive"]).text()


def receiving_records(
    staged: StagedFile, cluster: Cluster, *, is_first: bool, patience: int = 120, overrides: Path | None = None
) -> str:
    """Render a script that receives records of an upload (`hpcdeploy.remote.records`) after its own text.

    Several run at once. The script of `receiving` then completes the file.

    Args:
        staged: The upload.
        cluster: The cluster.
        is_first: This script locks the upload, and answers which ranges are present. The others need none of this.
        patience: Timeout in seconds without data.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    values: dict[str, Value] = {
        "size": staged.size,
        "is_first": is_first,
        "silence_timeout": patience,
        "receiver": library_file("receive.py"),
    }
    script = _upload_script(staged, cluster, values)
    title = "Receive records of a file that is uploaded in parallel, which follow this script on standard input."
    return replace(script, title=title, about=ABOUT_RECEIVE_RECORDS, files=FILES["records"]).text()


def _upload_script(staged: StagedFile, cluster: Cluster, values: Mapping[str, Value]) -> Script:
    """Return a script that receives an upload, without its title and its files."""
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
    refuse_former(overrides)
    limit = limits.following(sum(run.tasks for run in runs)).stdout
    values: dict[str, Value] = {
        "fence": fence,
        "queried": "\n".join(line for run in runs for line in _asked(run, (over or {}).get(run.id, ()))),
        "most": limit,
        "most_in_all": limits.ALL_JOBS,
        **scheduler_of(scheduler).follow_values(),
    }
    if scheduler == "htcondor":
        values["run_ids"] = tuple(run.id for run in runs)
        values["job_ids"] = tuple(part.job_id for run in runs for part in run.parts)
        values["since"] = int(min(run.submitted for run in runs))
    title = "Print the state of runs: the scheduler's output, and the runs' own records. It changes nothing."
    return _query(title, values, cluster, f"{scheduler}-follow", with_variables=True)


def _query(title: str, values: Mapping[str, Value], cluster: Cluster, files: str, *, with_variables: bool = False) -> str:
    """Return a script that needs the cluster's root only.

    Args:
        title: What it does.
        values: Its values.
        cluster: The cluster.
        files: Its key in `FILES`.
        with_variables: It calls the scheduler's commands, whose variables it removes, after all setup lines.
    """
    return Script(
        title=title,
        values=values,
        functions=(paths_function("set_paths", {"root": shell.path(cluster.root)}),),
        before_setup=("variables.sh",) if with_variables else (),
        setup=Setup(lines=cluster.setup if with_variables else setup_for(cluster, cluster.root)),
        files=FILES[files],
    ).text()


def _asked(run: Run, over: Iterable[int]) -> Iterator[str]:
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
    refuse_former(overrides)
    scheduler = runs[0].scheduler
    jobs = [(run.id, part) for run in runs for part in run.parts]
    values: dict[str, Value] = {
        "run_ids": tuple(run.id for run in runs),
        "run_of": {part.job_id: run_id for run_id, part in jobs},
        "cancel_command": "scancel" if scheduler == "slurm" else "condor_rm",
    }
    if scheduler == "slurm":
        values["name_of"] = {part.job_id: part.name for _, part in jobs}
    return _query("Cancel runs.", values, cluster, f"{scheduler}-cancel", with_variables=True)


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
    refuse_former(overrides)
    is_array = run.scheduler == "slurm" and run.tasks > 1
    values: dict[str, Value] = {
        "run_id": run.id,
        "scheduler": run.scheduler,
        **({"tasks": run.tasks} if is_array else {}),
        "is_array": is_array,
        "lock_timeout": str(patience),
        "image_cache_owners": cluster.image_cache_owners,
    }
    chunks = ("slurm/chunks.sh",) if is_array else ()
    return Script(
        title=f"Find the job of run {run.id}, whose submission is uncertain, or prevent its submission.",
        about=ABOUT_REVOKE,
        values=values,
        functions=(set_paths(cluster),),
        before_setup=("variables.sh",),
        setup=Setup(lines=cluster.setup, must_succeed=True),
        files=(*FILES["revoke"], *FILES[f"{run.scheduler}-lookup"], *chunks, *FIND, "find_jobs.sh"),
    ).text()


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
    refuse_former(overrides)
    values: dict[str, Value] = {
        "run_id": run.id,
        "wanted": "\n".join(f"{task} {out + 1} {err + 1}" for task, out, err in wanted),
        "limit": log_piece(len(wanted)),
        "fence": fence,
    }
    return _query("Print what tasks wrote since the last query.", values, cluster, "logs")


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
    refuse_former(overrides)
    values: dict[str, Value] = {
        "run_id": run.id,
        "patterns": (*alone, *of_tasks) if chosen else default_patterns,
        "with_logs": not patterns,
        "fence": fence,
    }
    paths = {"root": shell.path(cluster.root), "work": shell.path(run.workdir) if run.workdir else "''"}
    return Script(
        title="List the files that a run wrote.",
        values=values,
        functions=(paths_function("set_paths", paths),),
        setup=Setup(lines=setup_for(cluster, cluster.root, run.workdir or "")),
        files=FILES["list"],
    ).text()
