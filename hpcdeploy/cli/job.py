"""Implement ``render`` and ``submit``, which plan a new run."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.command_line import META
from hpcdeploy.cli.job_options import NOT_GIVEN, as_settings, takes_job_options
from hpcdeploy.cli.options import AllowStale, AsJson, ClusterName, JobName, PrintScript, RunId, SchedulerChoice, spread
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.cluster import SchedulerName
    from hpcdeploy.config.named_files import Admit
    from hpcdeploy.flows.images import RegistryLookup
    from hpcdeploy.flows.plan import CheckImage, Confirmations, Plan
    from hpcdeploy.flows.submit import Submitted
    from hpcdeploy.image import PublishedImage
    from hpcdeploy.job import Array
    from hpcdeploy.remote.connections import Connections


@frozen
class Selection:
    """The options that select a job, where it runs, and the id of its run."""

    job: JobName = None
    cluster: ClusterName = None
    scheduler: SchedulerChoice = None
    run_id: RunId = None


@takes_job_options
@spread
def render(
    ctx: typer.Context,
    selection: Selection,
    **options: Any,  # noqa: ANN401 - the decorator sets the types
) -> None:
    """Print the script that submit would run on the login node.

    Nothing is changed. The output has exactly the bytes that submit would send.
    """
    from hpcdeploy.cli.place import here

    plan = plan_job(here(), selection, as_settings(options, ctx.meta.get(META, ())))
    say_notes(plan)
    print_script(plan)


@takes_job_options
@spread
def submit(
    ctx: typer.Context,
    selection: Selection,
    dry_run: PrintScript = False,
    allow_stale: AllowStale = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Resume an interrupted submission.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    json: AsJson = False,
    **options: Any,  # noqa: ANN401 - the decorator sets the types
) -> None:
    """Submit a job exactly once, even if the connection drops."""
    from hpcdeploy.cli.place import here

    place = here()
    with place.connections() as open_connections:
        if resume:
            print_submitted(_resume(place, resume, open_connections), json=json)
            return
        words = as_settings(options, ctx.meta.get(META, ()))
        sends = None if dry_run else open_connections
        plan = plan_job(place, selection, words, sends=sends, allow_stale=allow_stale)
        say_notes(plan)
        if dry_run:
            print_script(plan)
            return
        print_submitted(submit_plan(place, plan, open_connections), json=json)


def plan_job(
    place: "Place",
    selection: Selection,
    words: Mapping[str, object],
    *,
    array: "Array | None" = None,
    sends: "Connections | None" = None,
    allow_stale: bool = False,
) -> "Plan":
    """Plan a run in the project of `place`.

    If the run will be submitted, the connection to the cluster is started first, so that hpcdeploy connects while it plans.

    Args:
        place: The project.
        selection: The job, the cluster, the scheduler, and the run's id.
        words: Values of options, by the key of ``[jobs.NAME]``.
        array: An array that replaces the array of the options.
        sends: The connections to clusters if the run will be submitted; None to only plan.
        allow_stale: Whether the run may be submitted with an image that is older than the project.

    Raises:
        ConfigError: Settings are invalid, the user rejected a file outside of the project, or the image is stale.
        HpcdeployError: The run cannot be planned for another reason.
    """
    from hpcdeploy.cli.trust import admit_on
    from hpcdeploy.config.named_files import admit_all
    from hpcdeploy.config.resolution import choose_cluster
    from hpcdeploy.remote.answers import SUBMITTING

    admit: Admit = admit_all
    if sends:
        chosen = choose_cluster(place.project, selection.cluster)
        sends.to(chosen).begin(SUBMITTING)
        admit = admit_on(chosen, place.project.root)
    from hpcdeploy.config.job_schema import read_options
    from hpcdeploy.flows.plan import Requested, plan
    from hpcdeploy.folders import state_folder

    options = read_options(words)
    return plan(
        place.project,
        place.store,
        Requested(
            job=selection.job,
            cluster=selection.cluster,
            scheduler=cast("SchedulerName | None", selection.scheduler),
            run_id=selection.run_id,
            options=replace(options, array=array) if array else options,
            words={name: value for name, value in words.items() if value not in NOT_GIVEN},
        ),
        _registries(reads=sends is not None),
        now=time.time(),
        archives=state_folder(os.environ) / "code" if sends else None,
        confirm=_confirmations(place, sends, admit, allow_stale=allow_stale),
    )


def _confirmations(place: "Place", sends: "Connections | None", admit: "Admit", *, allow_stale: bool) -> "Confirmations":
    """Return the functions that may stop the planning of a run; without connections only those that query nothing."""
    from hpcdeploy.flows.plan import Confirmations
    from hpcdeploy.flows.processors import nodes_by

    return Confirmations(
        allow=_is_confirmed if sends else lambda _surprise: True,
        check_image=_stale_check(place, refuse=bool(sends) and not allow_stale),
        admit=admit,
        nodes=nodes_by(place.store, sends.to if sends else None),
    )


def _registries(*, reads: bool) -> "RegistryLookup":
    """Return the functions that look up images in registries, with the user's credentials.

    Images themselves are only read with `reads`.
    """
    from hpcdeploy.flows.images import RegistryLookup
    from hpcdeploy.registry import lookup

    found = RegistryLookup(resolve=lookup.resolve, plain_http=lookup.uses_plain_http)
    return replace(found, head=lookup.head_of) if reads else found


def _stale_check(place: "Place", *, refuse: bool) -> "CheckImage":
    """Return a function that prints notes if a job's image is older than the project.

    With `refuse`, the function raises `ConfigError` if the image is older than the project.
    """
    from hpcdeploy.flows.images import published_of

    return lambda image, delivery: say_if_stale(place, image, refuse=refuse, published=published_of(delivery))


def say_if_stale(
    place: "Place", image: str, *, refuse: bool, published: "PublishedImage | None" = None, file: Path | None = None
) -> None:
    """Print notes if an image of the project is older than the project.

    An image that was not built on this machine is compared by its labels. The labels are read from `file` if it exists, or
    else from the registry if the image is `published`.

    Raises:
        ConfigError: The image is older than the project and `refuse` is set.
    """
    if image not in place.project.images:
        return
    from hpcdeploy.flows.freshness import check_image, labels_of_file, labels_of_published
    from hpcdeploy.registry.lookup import head_of

    def labels() -> Mapping[str, str]:
        if file and file.is_file():
            return labels_of_file(file)
        return labels_of_published(published, head_of) if published else {}

    show.notes(map(one_line, check_image(image, place.project, place.store, refuse=refuse, labels=labels)))


def _is_confirmed(size_note: str) -> bool:
    """Prompt whether to upload everything; `size_note` describes the large upload. Without a terminal, return False."""
    return sys.stdin.isatty() and show.confirm(f"{size_note}. Upload all of it?")


def say_notes(plan: "Plan") -> None:
    """Print the notes of a plan, such as the size of an upload."""
    for note in plan.notes:
        show.say(one_line(note))


def submit_plan(place: "Place", plan: "Plan", connections: "Connections") -> "Submitted":
    """Submit a planned run, and show messages and the progress of uploads."""
    from hpcdeploy.flows import submit as flow
    from hpcdeploy.progress import Feedback

    return flow.submit(
        plan.run,
        plan.script,
        connections.to(plan.cluster),
        place.store,
        uploads=plan.uploads,
        request=plan.request,
        feedback=Feedback(report=show.pass_on, carrying=show.transfer),
    )


def _resume(place: "Place", name: str, connections: "Connections") -> "Submitted":
    from hpcdeploy.flows import submit as flow
    from hpcdeploy.flows.choose_runs import find_all
    from hpcdeploy.flows.clean import check_not_cleaned
    from hpcdeploy.progress import Feedback

    [known] = find_all([name], place.scope(), "submit --resume")
    flow.check_resumable(known)
    # If the run's folder was removed, its script would not find the first job and would submit a second one.
    check_not_cleaned(place.store, known.run)
    script = place.store.script(known.run)
    cluster = place.cluster(known.run.cluster)
    return flow.resume(
        known.run,
        script,
        connections.to(cluster),
        place.store,
        uploads=place.store.uploads(known.run),
        feedback=Feedback(report=show.pass_on, carrying=show.transfer),
    )


def print_script(plan: "Plan") -> None:
    """Print the script; a file or a pipe gets its exact bytes (`show.exact`)."""
    show.exact(plan.script)


def print_submitted(done: "Submitted", *, json: bool) -> None:
    """Print the run's id on standard output, and the scheduler's job id on standard error; with `json` one JSON object."""
    from dataclasses import asdict

    if json:
        show.as_json({**asdict(done.run), "already": done.already})
        return
    show.say(f"{'was submitted before' if done.already else 'submitted'}: {done.run.scheduler} job {done.run.job_id}")
    show.put(done.run.id)
