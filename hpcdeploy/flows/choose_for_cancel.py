"""Choose the runs to cancel. If the user will not be prompted, a name must be unambiguous."""

from collections.abc import Sequence

from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.choose_runs import Chosen, Scope, check_inside, find, newest
from hpcdeploy.run import RunStatus


def choose(names: Sequence[str], scope: Scope, *, every: bool, sure: bool) -> list[RunStatus]:
    """Return the unfinished runs that `names` mean, without duplicates. A job's name means all its unfinished runs.

    Args:
        names: The names of runs or jobs. Without names, the project's newest run is chosen.
        scope: Where the names are searched.
        every: The user gave ``--all``. Without names, all unfinished runs of the project are chosen.
        sure: The user gave ``--yes`` and will not be prompted. Then a job's name must not mean runs of another project, and
            (unless `every`) it must mean at most one unfinished run. The beginning of an id must be that of a run of this
            project.

    Raises:
        ConfigError: There are no names, and the working folder is in no project; a name means only some tasks of a run; or,
            with `sure`, a job's name means several runs or runs of another project, or the beginning of an id means a run
            of another project.
        UnknownRunError: A name matches no run, or several; or there are no names, and the project has no runs.
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
            f"{name} is only a part of run {run.id} (job {run.job_id}, {run.tasks} tasks), and hpcdeploy cancels complete "
            f"runs only: use the id {run.id} to cancel all its tasks, or the scheduler's own command on {run.cluster} to "
            f"cancel {name} alone"
        )
    if sure and chosen.by_prefix and not scope.has(chosen.status):
        raise ConfigError(
            f"{name} is the beginning of the id of run {run.id}, which belongs to another project. With --yes, use its "
            "complete id"
        )
    if not chosen.by_job:
        return [chosen.status]
    project = scope.project if scope.has(chosen.status) else None
    alive = scope.store.of_job(name, project=project, cluster=scope.cluster, alive=True)
    if sure and alive and project is None:
        here = "this project" if scope.project else f"{scope.folder} is not in a project, so it"
        raise ConfigError(
            f"{here} has no run of job {name}, but other projects have: {_listed(alive)}. With --yes, use a run's id"
        )
    if sure and len(alive) > 1 and not every:
        raise ConfigError(f"job {name} has {len(alive)} unfinished runs: {_listed(alive)}. Use a run's id, or --all")
    return alive or [chosen.status]


def _listed(runs: Sequence[RunStatus]) -> str:
    return ", ".join(one.run.id for one in runs)
