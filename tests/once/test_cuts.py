"""A submission that is cut off anywhere is one job, or none and a word that says so: nothing doubled, nothing lost."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.store import Store
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.breaking import AT_ONCE, break_one, measure, resume, told, wrongs
from tests.once.conftest import Place
from tests.once.planned import Planned
from tests.once.points import KINDS, points, share_of


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_submission_cut_off_anywhere_is_one_job_or_says_that_there_is_none(
    place: Place, scheduler: SchedulerName, seed: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    def plan(_folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
        return place.planned(scheduler, setup, ssh_config)

    kinds = share_of(KINDS)
    chosen = points(f"{seed} {scheduler}", kinds)
    (tmp_path / "whole").mkdir()
    whole = measure(place, plan, tmp_path / "whole")
    record = tmp_path / "runs.db"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(
                lambda pair: break_one(place, plan, pair[1], whole, tmp_path / f"{scheduler}-{pair[0]}", record),
                enumerate(chosen),
            )
        )
    store = Store(record)
    wait_for_scripts(place.lab, place.root)

    first = jobs_by_run(place.lab, scheduler)
    known = {status.run.id: status.run for status in store.latest()}
    wrong = wrongs(outcomes, first, known)

    left = [run for run in known.values() if not run.job_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        resumed = dict(zip((run.id for run in left), pool.map(lambda run: resume(place, run, store), left), strict=True))
    second = jobs_by_run(place.lab, scheduler)
    for run_id, job in resumed.items():
        if second.get(run_id, set()) != {job}:
            wrong.append(f"resumed as job {job}, but there are {sorted(second.get(run_id, set()))}: {known[run_id]}")

    counts = [len(second.get(one.run.id, set())) for one in outcomes]
    say(told(scheduler, seed, outcomes, counts, len(left), sum("lost" in line for line in wrong)))
    assert wrong == []
    assert Counter(one.point.kind for one in outcomes) == kinds
    assert all(count == 1 for one, count in zip(outcomes, counts, strict=True) if one.run.id in known)
