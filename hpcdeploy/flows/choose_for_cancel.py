"""Choose the runs to cancel; no run that the user may not have meant is chosen without a question."""

from collections.abc import Sequence

from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.choose_runs import Chosen, Scope, check_inside, find, newest
from hpcdeploy.run import RunStatus


def choose(names: Sequence[str], scope: Scope, *, every: bool, sure: bool) -> list[RunStatus]:
    """Return the unfinished runs that `names` mean, each once.

    Args:
        names: The names; without any, the project's newest run is meant.
        scope: Where they are searched.
        every: Choose all unfinished runs of each job that is named; without names all of the project.
        sure: The user will not be asked, so that a name must not mean more than one run, or one of another project.

    Raises:
        ConfigError: There are no names, and the working folder is in no project; a name means only some tasks of a run; or
            it is not clear enough for a user who is `sure`.
        UnknownRunError: A name matches no run, or several, or the project has no runs.
    """
    if not names:
        found = _of_project(scope) if every else [newest(scope, "cancel")]
    else:
        found = [one for name in names for one in _meant(name, find(name, scope), scope, every=every, sure=sure)]
    return [one for one in {one.run.id: one for one in found}.values() if not one.ended]


def _of_project(scope: Scope) -> list[RunStatus]:
    check_inside(scope, "cancel --all")
    return scope.store.latest(alive=True, project=scope.project, cluster=scope.cluster)


def _meant(name: str, chosen: Chosen, scope: Scope, *, every: bool, sure: bool) -> list[RunStatus]:
    run = chosen.status.run
    if chosen.partly:
        raise ConfigError(
            f"{name} is only a part of run {run.id} (job {run.job_id}, {run.tasks} tasks), and a run is cancelled as a "
            f"whole: use its id for that, or the scheduler's own command on {run.cluster} for {name} alone"
        )
    if not chosen.by_job:
        return [chosen.status]
    project = scope.project if scope.has(chosen.status) else None
    alive = scope.store.of_job(name, project=project, cluster=scope.cluster, alive=True)
    if sure and alive and scope.project is not None and project is None:
        raise ConfigError(
            f"this project has no run of job {name}, but others have: {_listed(alive)}. With --yes, name one by its id"
        )
    if sure and len(alive) > 1 and not every:
        raise ConfigError(f"job {name} has {len(alive)} unfinished runs: {_listed(alive)}. Name one by its id, or use --all")
    return alive or [chosen.status]


def _listed(runs: Sequence[RunStatus]) -> str:
    return ", ".join(one.run.id for one in runs)
