"""Implement ``cancel``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import AsJson, OnCluster, Runs, Yes

if TYPE_CHECKING:
    from hpcdeploy.flows.choose_runs import Scope
    from hpcdeploy.run import Run, RunStatus


def cancel(
    run: Runs = None,
    every: Annotated[
        bool, typer.Option("--all", help="Cancel all unfinished runs of the named jobs, or without RUN of the project.")
    ] = False,
    cluster: OnCluster = None,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Cancel runs that have not finished.

    The name of a job means all unfinished runs of the job. With --yes and without --all, the job must have only one
    unfinished run.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows import cancel as flow
    from hpcdeploy.flows.choose_for_cancel import choose

    place = here()
    scope = place.scope(cluster)
    known = choose(run or [], scope, every=every, sure=yes)
    if known and not yes:
        show.confirm(_question(known, scope), abort=True)
    cancelled: list[Run] = []
    try:
        with place.connections() as open_connections:
            flow.cancel(known, place.session_of(open_connections), place.store, report=cancelled.append)
    finally:  # print the runs that were cancelled even if another cluster failed
        if json:
            show.as_json([one.id for one in cancelled])
        else:
            for one in cancelled:
                job = f"job {one.job_id}" if one.job_id else "it has no job, and can no longer be submitted"
                show.put(f"cancelled {one.id} ({job})")
    ended = [one.run.id for one in known if one.run.id not in {run.id for run in cancelled}]
    if not cancelled and not json:
        show.say(_nothing(scope))
    elif ended:
        show.say(f"not cancelled, because the run had already ended: {', '.join(ended)}")


def _question(known: "Sequence[RunStatus]", scope: "Scope") -> str:
    if len(known) == 1:
        return f"Cancel {_described(known[0], scope)}?"
    for one in known:
        show.say(_described(one, scope))
    return f"Cancel these {len(known)} runs?"


def _described(one: "RunStatus", scope: "Scope") -> str:
    """Describe a run for the prompt: its id, project, cluster, state and age."""
    from hpcdeploy.cli.status_text import in_words

    own = "this project" if scope.has(one) else f"project {one.run.project or '(not recorded)'}"
    return f"{one.run.id} ({own}, cluster {one.run.cluster}, {in_words(one)}, submitted {show.age(one.run.submitted)})"


def _nothing(scope: "Scope") -> str:
    left = [] if scope.project is None else scope.store.latest(alive=True, project=scope.project, cluster=scope.cluster)
    others = f"; unfinished runs of this project: {', '.join(one.run.id for one in left)}" if left else ""
    return f"nothing to cancel: all these runs have ended{others}"
