"""A run that waits for another on HTCondor: its one job is DAGMan, and that is submitted once as well."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcdeploy.job import Predecessor
from hpcdeploy.store import Store
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.breaking import AT_ONCE, break_one, measure, resume, told, wrongs
from tests.once.conftest import Place
from tests.once.planned import Planned
from tests.once.points import points, share_of
from tests.once.test_answers import call, on_login_node

KINDS = {
    "cut after bytes to the login node": 4,
    "cut after bytes from the login node": 3,
    "client killed after bytes to the login node": 3,
    "script killed at a command": 6,
    "login node gone at a command": 4,
    "login node gone before the scheduler's command": 1,
    "login node gone during the scheduler's command": 4,
    "login node gone after the scheduler's command": 1,
}


@pytest.fixture(scope="session")
def first(place: Place, htcondor: None) -> Predecessor:
    """Give a run that never ends: what waits for it stays one job, DAGMan's."""
    planned = place.planned("htcondor")
    assert call(place, planned).code == 0
    return Predecessor(run_id=planned.run.id, kind="afterok", tasks=1)


def plan(place: Place, first: Predecessor, setup: tuple[str, ...], ssh_config: Path | None = None) -> Planned:
    # What breaks the script is not for DAGMan, whose scripts have the cluster's setup too.
    lines = tuple(f'if [ -z "${{CONDOR_ID-}}" ]; then {line}; fi' for line in setup)
    return place.planned("htcondor", lines, ssh_config, after=(first,))


def test_a_submission_of_a_run_that_waits_is_one_dagman_wherever_it_is_cut_off(
    place: Place, first: Predecessor, seed: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    def plan_one(_folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
        return plan(place, first, setup, ssh_config)

    kinds = share_of(KINDS)
    chosen = points(f"{seed} after", kinds)
    (tmp_path / "whole").mkdir()
    whole = measure(place, plan_one, tmp_path / "whole")
    record = tmp_path / "runs.db"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(
                lambda pair: break_one(place, plan_one, pair[1], whole, tmp_path / f"after-{pair[0]}", record),
                enumerate(chosen),
            )
        )
    wait_for_scripts(place.lab, place.root)
    store = Store(record)
    known = {status.run.id: status.run for status in store.latest()}
    wrong = wrongs(outcomes, jobs_by_run(place.lab, "htcondor"), known)
    left = [run for run in known.values() if not run.job_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        resumed = list(pool.map(lambda run: resume(place, run, store), left))
    found = jobs_by_run(place.lab, "htcondor")
    assert [found.get(run.id, set()) for run in left] == [{job} for job in resumed]
    counts = [len(found.get(one.run.id, set())) for one in outcomes]
    say(told("after, on htcondor", seed, outcomes, counts, len(left), sum("lost" in line for line in wrong)))
    assert wrong == []
    assert Counter(one.point.kind for one in outcomes) == kinds
    assert all(count == 1 for one, count in zip(outcomes, counts, strict=True) if one.run.id in known)


@pytest.mark.parametrize("how", ["lost", "mute", "denied"])
def test_a_dagman_whose_answer_was_lost_is_found(place: Place, first: Predecessor, how: str) -> None:
    planned = plan(place, first, place.broken(how))
    said = call(place, planned)
    assert said.code == 0, said.words
    assert {said.job} == jobs_by_run(place.lab, "htcondor")[planned.run.id]
    assert call(place, planned).already


def test_a_folder_that_was_lost_does_not_make_a_second_dagman(place: Place, first: Predecessor) -> None:
    planned = plan(place, first, ())
    said = call(place, planned)
    folder = f"{place.root}/runs/{planned.run.id}"
    on_login_node(place, f"mv {folder} {folder}.lost")
    again = call(place, planned, "again")
    assert (again.code, again.job, again.already) == (0, said.job, True)
    assert {said.job} == jobs_by_run(place.lab, "htcondor")[planned.run.id]
