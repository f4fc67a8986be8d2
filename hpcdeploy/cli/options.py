"""Define options that several verbs have, and let a verb take a group of options as one value (`spread`)."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import typer

from hpcdeploy.cli import completion

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overwrite = Annotated[bool, typer.Option("--force", help="Overwrite a file that hpcdeploy did not write.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]

JobName = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]",
        help="Job of the project; default: the only job.",
        show_default=False,
        autocompletion=completion.jobs,
    ),
]
ClusterName = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--cluster",
        help="Cluster to use; default: the only cluster.",
        show_default=False,
        autocompletion=completion.clusters,
    ),
]
SchedulerChoice = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--scheduler",
        help="slurm or htcondor; default: the cluster's first scheduler.",
        show_default=False,
        autocompletion=completion.schedulers,
    ),
]
RunId = Annotated[str | None, typer.Option("--run-id", help="Id of the new run; default: generated.", show_default=False)]
AllowStale = Annotated[bool, typer.Option("--allow-stale", help="Allow an image that is older than the project.")]
PrintScript = Annotated[bool, typer.Option("--dry-run", help="Print the script as render does; change nothing.")]

RUN_HELP = "Run id or its prefix, job, or scheduler's job id"
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help=f"{RUN_HELP}; default: the project's newest run.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
OneRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help=f"{RUN_HELP}; default: the project's newest run.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
OnCluster = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--cluster",
        help="Only runs on this cluster.",
        show_default=False,
        autocompletion=completion.clusters_of_runs,
    ),
]
Interval = Annotated[float, typer.Option("--interval", help="Maximum seconds between two queries.", min=1)]


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Return a function that typer can call instead of `verb`, which takes groups of options as dataclasses.

    The function has one parameter for each field of such a dataclass. The type of a field is an option or an argument that
    typer can read (``Annotated``). The function creates the dataclasses and passes them to `verb`.
    """
    groups: dict[str, Any] = {}
    seen: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            seen += [
                inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
                for one in fields(parameter.annotation)
            ]
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            seen.append(parameter)
        else:
            seen.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(verb)
    def grouped(**given: Any) -> None:  # noqa: ANN401 - what typer parsed
        made = {name: kind(**{one.name: given.pop(one.name) for one in fields(kind)}) for name, kind in groups.items()}
        verb(**made, **given)

    grouped.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]  # PEP 362
    grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return grouped
