"""Which run is meant by what a job waits for."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.flows.plan import predecessors
from hpcdeploy.job import After, Job, Predecessor
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store

HPC = Cluster(name="hpc")
PREPARE = Run(
    id="prepare-1",
    job="prepare",
    cluster="hpc",
    scheduler="slurm",
    image="i",
    sha256="a" * 64,
    tasks=4,
    command=(),
    submitted=100,
    job_id="7",
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(root=tmp_path, jobs={"prepare": JobSettings(), "train": JobSettings()})


def found(after: After, project: Project, store: Store) -> tuple[Predecessor, ...]:
    return predecessors(Job(name="train", image="i", after=(after,)), project, HPC, "slurm", store)


def test_the_name_of_a_job_means_its_newest_run_there(project: Project, store: Store) -> None:
    for run in (
        PREPARE,
        replace(PREPARE, id="prepare-2", submitted=200, tasks=1),
        replace(PREPARE, id="prepare-3", submitted=300, cluster="other"),
        replace(PREPARE, id="prepare-4", submitted=400, scheduler="htcondor"),
        replace(PREPARE, id="train-5", job="train", submitted=500),
    ):
        store.add(run, "")
    expected = (Predecessor(run_id="prepare-2", kind="afterany", tasks=1),)
    assert found(After(what="prepare", kind="afterany"), project, store) == expected


def test_a_run_is_meant_by_its_id_or_the_beginning_of_it(project: Project, store: Store) -> None:
    store.add(replace(PREPARE, id="clean-abc"), "")
    for what in ("clean-abc", "clean"):
        assert [one.run_id for one in found(After(what=what), project, store)] == ["clean-abc"]


def test_a_run_that_bears_a_jobs_name_is_that_run(project: Project, store: Store) -> None:
    store.add(replace(PREPARE, id="prepare", job="job", submitted=50), "")
    store.add(PREPARE, "")
    assert [one.run_id for one in found(After(what="prepare"), project, store)] == ["prepare"]


def test_a_job_that_never_ran_there_is_refused_with_the_command_that_submits_it(project: Project, store: Store) -> None:
    with pytest.raises(ConfigError, match=r"no run on hpc \(slurm\) yet; submit prepare first: hpcdeploy submit prepare"):
        found(After(what="prepare"), project, store)
    store.add(replace(PREPARE, cluster="other"), "")
    with pytest.raises(ConfigError, match=r"no run on hpc \(slurm\) yet, only on other \(slurm\); submit prepare first"):
        found(After(what="prepare"), project, store)


@pytest.mark.parametrize("change", [{"cluster": "other"}, {"scheduler": "htcondor"}])
def test_a_run_of_another_cluster_or_scheduler_is_refused(project: Project, store: Store, change: dict[str, str]) -> None:
    store.add(replace(PREPARE, **change), "")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="A scheduler can only wait for its own jobs"):
        found(After(what="prepare-1"), project, store)


def test_a_run_that_may_have_no_job_is_refused_with_what_to_do(project: Project, store: Store) -> None:
    store.add(replace(PREPARE, job_id=""), "")
    with pytest.raises(ConfigError, match="hpcdeploy submit --resume prepare-1"):
        found(After(what="prepare"), project, store)


def test_a_name_that_nothing_has_is_refused(project: Project, store: Store) -> None:
    with pytest.raises(UnknownRunError, match="the record has no run 'prep'"):
        found(After(what="prep"), project, store)


def test_a_run_that_was_cancelled_before_it_was_submitted_is_waited_for_by_nobody(project: Project, store: Store) -> None:
    never = replace(PREPARE, job_id="")
    store.add(never, "")
    tasks = tuple(TaskStatus(task=task, state=State.CANCELLED) for task in range(never.tasks))
    store.learned(RunStatus(run=never, tasks=tasks, asked=1))
    with pytest.raises(ConfigError, match="was cancelled before it was submitted; submit prepare again"):
        found(After(what="prepare"), project, store)


def test_a_job_that_waits_for_itself_is_told_how_to_begin(project: Project, store: Store) -> None:
    with pytest.raises(ConfigError, match=r"latest run, but has no run on hpc \(slurm\) yet\. .*train --after train"):
        found(After(what="train", kind="afterok"), project, store)


def test_a_run_whose_folder_clean_removed_is_refused_and_the_message_says_why(project: Project, store: Store) -> None:
    store.add(PREPARE, "")
    tasks = tuple(TaskStatus(task=task, state=State.COMPLETED, exit_code=0) for task in range(PREPARE.tasks))
    store.learned(RunStatus(run=PREPARE, tasks=tasks, asked=1))
    store.cleaned([PREPARE], when=200)
    for what in ("prepare", "prepare-1"):
        with pytest.raises(ConfigError, match=r"prepare-1 \(COMPLETED\), whose folder .* was removed by 'hpcdeploy clean'"):
            found(After(what=what), project, store)
