"""Render the files of a run, and the other values of a job that the submission script needs.

The submission script writes the files into the run's folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Array, Bind, Job, Predecessor
from hpcdeploy.parameters import VARIABLE, Parameters, Placeholder, pieces, task_line
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.shell_script import Raw, Setup, Value, assignments, function, here_document
from hpcdeploy.staged_files import Delivery, Placement, can_mount, placing_values
from hpcdeploy.templates import render

_FILTERS: dict[str, Callable[..., str]] = {"word": shell.word, "words": shell.words, "path": shell.path}

_CHECK_FUNCTIONS = (
    *("owner_of", "trusted", "is_private", "others_can_change"),
    *("verified_in", "is_the_image", "replace_by_copy", "check_image"),
)
"""Functions of ``login/owners.sh`` and ``login/trust.sh`` that the submission script copies into a file for the job."""

_PULL_FUNCTIONS = ("open_lock", "image_mode")
"""Functions that the submission script copies in addition if the job pulls its image itself."""

_DAG = ("job.dag", "dagman.config", "wait.sh", "node.sh", "remove.sh")
"""Additional files of an HTCondor run that waits for other runs."""


@frozen
class JobFiles:
    """The files and values of a job for the submission script.

    Attributes:
        values: Variables that the submission script assigns first, by name.
        paths: Variables that the submission script assigns just before it writes the files, by name. The values are shell
            code.
        functions: Shell functions that write the files of the run.
        library: Names of library files (folder ``login/``) that the submission script needs in addition.
        trees: The folders into which uploaded archives are unpacked, relative to the cluster's root.
    """

    values: Mapping[str, Value]
    paths: Mapping[str, str]
    functions: tuple[str, ...]
    library: tuple[str, ...]
    trees: tuple[Raw, ...]


def job_files(
    run: Run,
    job: Job,
    cluster: Cluster,
    delivery: Delivery,
    placements: Sequence[Placement],
    after: Sequence[Predecessor],
    overrides: Path | None,
) -> JobFiles:
    """Render the files of a run.

    Raises:
        ConfigError: The scheduler does not support a setting of the job.
        TemplateError: A template is broken.
    """
    values = _values(run, job, cluster, delivery, after)
    values |= placing_values(placements, job.outputs, mounts=can_mount(run.scheduler, cluster))
    values |= scheduler_of(run.scheduler).job_values(job, cluster, run.id)
    parameters = job.array.parameters if job.array else None
    values["program"] = _program(run, values, parameters, overrides)
    if run.scheduler == "slurm":
        return _slurm_files(run, values, after, overrides)
    return _htcondor_files(run, values, after, overrides)


def _values(run: Run, job: Job, cluster: Cluster, delivery: Delivery, after: Sequence[Predecessor]) -> dict[str, object]:
    """Return the template values that both schedulers use."""
    parameters = job.array.parameters if job.array else None
    setup = Setup(lines=cluster.setup, on_failure=("finish" if run.scheduler == "slurm" else "exit", "1"))
    return {
        "version": __version__,
        "run_id": run.id,
        "setup_values": assignments(setup.values),
        "setup_file": f"login/{setup.file}",
        "apptainer": cluster.apptainer,
        # The prefix of variables. SingularityCE accepts only SINGULARITY; Apptainer prints a warning about SINGULARITY.
        "prefix": "SINGULARITY" if Path(cluster.apptainer).name == "singularity" else "APPTAINER",
        "image_cache_owners": cluster.image_cache_owners,
        "sha256": delivery.sha256,
        "reference": delivery.reference,
        "pull_options": delivery.pull_options,
        "plain_http": delivery.plain_http,
        "in_job": delivery.in_job,
        "fetched_from": delivery.fetched_from,
        "arrives_as": delivery.arrives_as,
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
    }


def _slurm_files(run: Run, values: Mapping[str, object], after: Sequence[Predecessor], overrides: Path | None) -> JobFiles:
    """Return the files of a Slurm run."""
    files = {
        "job.sh": _render("slurm_templates/job.sh", values, overrides),
        "program.sh": str(values["program"]),
        **({"parameters": str(values["task_lines"])} if values["task_lines"] else {}),
        **({"rank.sh": _render("slurm_templates/rank.sh", values, overrides)} if values["launched"] else {}),
    }
    is_array = bool(values["is_array"])
    header: dict[str, Value] = {
        "is_array": is_array,
        "log_name": str(values["log_name"]),
        # The dependency is passed as an option of sbatch, which replaces the directive in job.sh. Only an array that does
        # not wait for other runs of hpcdeploy needs this.
        "dependency": str(values["dependency"]) if is_array and not after else "",
        "mpi": str(values["mpi"] or ""),
        "job_functions": (*_CHECK_FUNCTIONS, *(_PULL_FUNCTIONS if values["in_job"] else ())),
    }
    if is_array:
        header |= {"tasks": run.tasks, "array_throttle": f"%{values['throttle']}" if values["throttle"] else ""}
    library = (
        *(("slurm/chunks.sh", "slurm/array.sh") if is_array else ()),
        *(("slurm/mpi.sh",) if values["mpi"] else ()),
        *(("slurm/after.sh",) if after else ()),
        *(("open_lock.sh", "image_mode.sh") if values["in_job"] else ()),
    )
    return JobFiles(values=header, paths={}, functions=(_write_files(run, files),), library=library, trees=_trees(values))


def _htcondor_files(
    run: Run, values: Mapping[str, object], after: Sequence[Predecessor], overrides: Path | None
) -> JobFiles:
    """Return the files of an HTCondor run."""
    container = values["container"]
    starter = {"apptainer": "job.sh", "singularity-image": "inside.sh"}.get(str(container))
    templates = (*((starter,) if starter else ()), *(_DAG if after else ()))
    files = {
        "program.sh": str(values["program"]),
        **({"parameters": str(values["task_lines"])} if values["task_lines"] else {}),
        **{name: _render(f"htcondor_templates/{name}", values, overrides) for name in templates},
    }
    carried = tuple(Raw(word) for pair in _pairs(values["carried"]) for word in pair)
    sends_image = container != "apptainer" and not values["fetched_from"]
    no_commas = container == "singularity-image" or bool(carried)
    description = _render("htcondor_templates/job.sub", values, overrides)
    header: dict[str, Value] = {
        "is_array": False,
        "container": str(container),
        "tasks": run.tasks,
        "task_folder": Raw(r"/\$\(Process\)") if values["array"] and not values["workdir"] else "",
        "commas_allowed": not no_commas,
        "or_a_comma": " or a comma" if no_commas else "",
        "has_inputs": bool(carried),
        "sends_image": sends_image,
        "notes_begin": bool(values["notes_begin"]),
    }
    if carried:
        header["inputs"] = carried
    if container == "apptainer":
        header["job_functions"] = _CHECK_FUNCTIONS
    paths = {"workdir": str(values["workdir"]) or "''"}
    if container == "apptainer":
        paths["binds"] = _binds(values["binds"])
    library = (
        *(("htcondor/binds.sh",) if container == "apptainer" else ()),
        *(("htcondor/inputs.sh",) if carried else ()),
        *(("htcondor/own_copy.sh",) if sends_image else ()),
        *(("htcondor/dag.sh",) if after else ()),
    )
    functions = (
        _write_files(run, files),
        function("submit_description", here_document("  cat", description, _end(run))),
    )
    return JobFiles(values=header, paths=paths, functions=functions, library=library, trees=_trees(values))


def _write_files(run: Run, files: Mapping[str, str]) -> str:
    """Return the function that writes the files of a run, from here-documents that the shell does not expand."""
    documents = (here_document(f'  write "$run/{name}"', text, _end(run)) for name, text in files.items())
    return function("write_files", *documents)


def _end(run: Run) -> str:
    """Return the delimiter of a here-document. No document contains it, because it has the random part of the run's id."""
    return f"HPCDEPLOY_END_{run.id.rpartition('-')[2]}"


def _trees(values: Mapping[str, object]) -> tuple[Raw, ...]:
    trees = values["unpacked"]
    assert isinstance(trees, tuple)
    return tuple(map(Raw, trees))


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    assert isinstance(value, tuple)
    return value


def _binds(binds: object) -> str:
    """Return an array with three words for each bind: source, destination, and ``ro`` or ``rw``."""
    assert isinstance(binds, list)
    words = (f"{shell.path(one.source)} {shell.path(one.destination)} {'ro' if one.read_only else 'rw'}" for one in binds)
    return f"({' '.join(words)})"


def _task_lines(array: Array | None) -> str:
    """Return the parameter lines of the tasks, one for each; empty if a task needs only its number."""
    if array is None or not (array.parameters or array.numbers):
        return ""
    numbers = array.numbers or range(array.size)
    rows = [array.parameters.of(task) for task in range(array.size)] if array.parameters else [{}] * array.size
    return "\n".join(task_line(number, row) for number, row in zip(numbers, rows, strict=True))


def _program(run: Run, values: Mapping[str, object], parameters: Parameters | None, overrides: Path | None) -> str:
    """Render the program that runs in the container.

    In a sweep, each parameter in an argument becomes a shell variable, and the text around it is quoted.
    """
    name = f"{run.scheduler}_templates/program.sh"
    if parameters is None:
        return _render(name, values, overrides)

    def swept(text: str) -> str:
        found = pieces(text, parameters.names)
        return "".join(
            f'"${VARIABLE}{piece.name}"' if isinstance(piece, Placeholder) else shell.word(piece) for piece in found if piece
        ) or shell.word("")

    filters = {**_FILTERS, "word": swept, "words": lambda texts: " ".join(map(swept, texts))}
    return render(name, values, filters=filters, overrides=overrides)


def _with_destination(bind: Bind) -> Bind:
    return replace(bind, destination=bind.destination or bind.source)


def _render(name: str, values: Mapping[str, object], overrides: Path | None) -> str:
    return render(name, values, filters=_FILTERS, overrides=overrides)
