"""The same over a connection of ssh(1)'s (``transport = "openssh"``): it is cut, or its process or the client is killed."""

import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.store import Store
from tests.once.asking import jobs_by_run, wait_for_scripts
from tests.once.breaking import AT_ONCE, break_one, measure, resume, told, wrongs
from tests.once.conftest import Place
from tests.once.planned import Planned
from tests.once.points import points, share_of

KINDS = {
    "cut after bytes to the login node": 4,
    "cut after bytes from the login node": 2,
    "cut after a time": 2,
    "client killed after bytes to the login node": 2,
    "client and master killed after bytes to the login node": 2,
    "master killed after bytes to the login node": 2,
    "master killed after bytes from the login node": 2,
}
"""How many points of each kind a scheduler gets, over a connection that the client has made itself."""

HELD = {
    "cut after bytes to the login node": 3,
    "cut after bytes from the login node": 2,
    "cut after a time": 1,
}
"""The same over one that the person holds open."""

_IDLE = 3
"""Seconds after which an unused connection of the user ends."""


def hold_open(host: str, ssh_config: Path, folder: Path) -> None:
    """Open a connection as a person does, if that is not cut off already."""
    with ssh_config.open("a") as config:
        config.write(f"    ControlPath {folder}/%C\n    ControlPersist {_IDLE}\n")
    nobody = subprocess.DEVNULL
    subprocess.run(["ssh", "-F", ssh_config, "-fNM", host], check=False, stdin=nobody, stderr=nobody)


@pytest.mark.parametrize("whose", ["its own", "the person's"])
@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_submission_over_a_connection_of_openssh_is_one_job_wherever_that_is_cut_off(
    place: Place,
    scheduler: SchedulerName,
    whose: str,
    seed: str,
    tmp_path: Path,
    short: Path,
    say: Callable[[str], None],
) -> None:
    riding = replace(place, cluster=replace(place.cluster, transport="openssh"))

    def plan(_folder: Path, setup: tuple[str, ...], ssh_config: Path) -> Planned:
        if whose == "the person's":
            hold_open(place.lab.host, ssh_config, short)
        return riding.planned(scheduler, setup, ssh_config)

    kinds = share_of(KINDS if whose == "its own" else HELD)
    chosen = points(f"{seed} {scheduler} rides on {whose}", kinds)
    (tmp_path / "whole").mkdir()
    whole = measure(riding, plan, tmp_path / "whole")
    record = tmp_path / "runs.db"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(
                lambda pair: break_one(riding, plan, pair[1], whole, tmp_path / f"rides-{scheduler}-{pair[0]}", record),
                enumerate(chosen),
            )
        )
    wait_for_scripts(place.lab, place.root)
    store = Store(record)
    known = {status.run.id: status.run for status in store.latest()}
    wrong = wrongs(outcomes, jobs_by_run(place.lab, scheduler), known)
    left = [run for run in known.values() if not run.job_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        resumed = list(pool.map(lambda run: resume(riding, run, store), left))
    found = jobs_by_run(place.lab, scheduler)
    assert [found.get(run.id, set()) for run in left] == [{job} for job in resumed]
    counts = [len(found.get(one.run.id, set())) for one in outcomes]
    words = f"over OpenSSH's connection, {whose}, {scheduler}"
    say(told(words, seed, outcomes, counts, len(left), sum("lost" in line for line in wrong)))
    assert wrong == []
    assert Counter(one.point.kind for one in outcomes) == kinds
    assert all(count == 1 for one, count in zip(outcomes, counts, strict=True) if one.run.id in known)
