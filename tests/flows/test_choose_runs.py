"""Which run a user means by a name, or by none; and what may be cancelled without a question."""

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.flows.choose_for_cancel import choose
from hpcdeploy.flows.choose_runs import Scope, find, find_all, newest
from hpcdeploy.flows.projects import check_there, find_project, follow_move
from hpcdeploy.image import BuiltImage
from hpcdeploy.job import Request
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store
from tests.scheduler.samples import PLAIN, run_of

IMAGE = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="")


def project_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "hpcdeploy.toml").write_text("[images.train]\n")
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return project_in(tmp_path / "mine")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return project_in(tmp_path / "other")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state" / "runs.db")


@pytest.fixture
def scope(store: Store, mine: Path) -> Scope:
    return Scope(store=store, folder=mine / "sub", project=mine)


def add(store: Store, project: Path, run_id: str, when: int, *, ended: bool = False, **fields: object) -> Run:
    run = replace(run_of(PLAIN, run_id=run_id), submitted=when, project=str(project), job=run_id.partition("-")[0])
    run = replace(run, **fields)  # type: ignore[arg-type]
    store.add(run, "")
    if ended:
        tasks = tuple(TaskStatus(task=task, state=State.COMPLETED) for task in range(run.tasks))
        store.learned(RunStatus(run=run, tasks=tasks, asked=1))
    return run


def ids(found: list[RunStatus]) -> list[str]:
    return [one.run.id for one in found]


def test_no_name_means_the_newest_run_of_this_project_only(store: Store, scope: Scope, mine: Path, other: Path) -> None:
    add(store, mine, "train-1", 1)
    add(store, mine, "train-2", 2, cluster="far")
    add(store, other, "train-3", 3)
    assert newest(scope, "logs").run.id == "train-2"
    assert newest(replace(scope, cluster="hpc"), "logs").run.id == "train-1"
    assert ids(find_all([], scope, "wait")) == ["train-2"]


def test_a_project_without_runs_says_so_whatever_others_have(store: Store, scope: Scope, other: Path) -> None:
    add(store, other, "train-3", 3)
    with pytest.raises(
        UnknownRunError, match=r"the project .*mine has no runs yet; submit one with 'hpcdeploy submit'.*--all"
    ):
        newest(scope, "logs")


@pytest.mark.parametrize("verb", ["cancel", "logs", "fetch"])
def test_outside_of_a_project_a_run_has_to_be_named(store: Store, scope: Scope, mine: Path, verb: str) -> None:
    add(store, mine, "train-1", 1)
    outside = replace(scope, project=None, folder=Path("/elsewhere"))
    with pytest.raises(ConfigError, match=f"^{verb} needs a run, because /elsewhere is not in a project; name a run"):
        find_all([], outside, verb)
    with pytest.raises(ConfigError, match="cancel needs a run"):
        choose([], outside, every=False, sure=True)
    with pytest.raises(ConfigError, match="cancel --all needs a run"):
        choose([], outside, every=True, sure=True)
    assert ids(find_all(["train"], outside, verb)) == ["train-1"]


def test_a_name_is_an_id_then_a_job_then_the_beginning_of_an_id_then_a_job_id(
    store: Store, scope: Scope, mine: Path
) -> None:
    add(store, mine, "train", 1, job="odd", job_id="5")
    add(store, mine, "train-big-1", 9, job="train-big", job_id="6")
    add(store, mine, "train-1", 2, job="train", job_id="7")
    add(store, mine, "7-1", 3, job="seven", job_id="8")
    assert [find(name, scope).status.run.id for name in ("train", "odd", "train-big", "train-b")] == [
        "train", "train", "train-big-1", "train-big-1",
    ]  # fmt: skip
    assert find("7", scope).status.run.id == "7-1"
    assert find("6", scope).status.run.id == "train-big-1"
    store.forget(run_of(PLAIN, run_id="train"))
    assert find("train", scope).status.run.id == "train-1"


def test_this_project_comes_first_for_jobs_and_prefixes(store: Store, scope: Scope, mine: Path, other: Path) -> None:
    add(store, mine, "train-ab1", 1)
    add(store, other, "train-ab2", 2)
    add(store, other, "eval-1", 3)
    assert find("train", scope).status.run.id == "train-ab1"
    assert find("train-ab", scope).status.run.id == "train-ab1"
    assert find("eval", scope).status.run.id == "eval-1"
    assert find("train", replace(scope, project=None)).status.run.id == "train-ab2"
    with pytest.raises(UnknownRunError, match="'train-' is ambiguous: train-ab2, train-ab1; use a longer prefix"):
        find("train-", replace(scope, project=None))


@pytest.mark.parametrize("name", ["x", "%", "", "9", "train-1_", "9_1", "1" * 40, "caf\udce9", "naïve", "4"])
def test_what_matches_nothing_is_unknown(store: Store, scope: Scope, mine: Path, name: str) -> None:
    add(store, mine, "train-1", 1, job_id="41,42", tasks=2, part=1)
    with pytest.raises(UnknownRunError, match="the record has no run"):
        find(name, scope)


def test_a_job_id_of_two_clusters_needs_the_cluster(store: Store, scope: Scope, mine: Path, other: Path) -> None:
    add(store, mine, "train-1", 1, job_id="123")
    add(store, other, "train-2", 2, job_id="123", cluster="far")
    with pytest.raises(UnknownRunError, match=r"ambiguous: train-1 on hpc \(slurm\), train-2 on far \(slurm\).* --cluster"):
        find("123", scope)
    assert find("123", replace(scope, cluster="far")).status.run.id == "train-2"
    add(store, other, "train-3", 3, job_id="123", cluster="far", scheduler="htcondor")
    with pytest.raises(UnknownRunError, match="use the run's id"):
        find("123", replace(scope, cluster="far"))
    with pytest.raises(UnknownRunError, match="no run 'train-1' on cluster far"):
        find("train-1", replace(scope, cluster="far"))


def test_of_a_job_id_that_a_cluster_used_again_the_newest_run_is_meant(store: Store, scope: Scope, mine: Path) -> None:
    add(store, mine, "train-1", 1, job_id="123")
    add(store, mine, "train-2", 2, job_id="123")
    assert find("123", scope).status.run.id == "train-2"


@pytest.mark.parametrize(
    ("name", "task", "partly"),
    [("50", None, True), ("50_3", 3, True), ("51_1", 5, True), ("51.1", 5, True), ("60", None, False), ("60_0", 0, False)],
)
def test_the_id_of_a_task_means_its_run_and_that_task(
    store: Store, scope: Scope, mine: Path, name: str, task: int | None, *, partly: bool
) -> None:
    add(store, mine, "sweep-1", 1, job_id="50,51", tasks=6, part=4)
    add(store, mine, "train-1", 2, job_id="60")
    found = find(name, scope)
    assert (found.task, found.partly) == (task, partly)
    with pytest.raises(UnknownRunError, match=r"run sweep-1 \(job 51\) has no task 2; expected 0 to 1"):
        find("51_2", scope)


def test_a_run_that_is_named_twice_is_meant_once(store: Store, scope: Scope, mine: Path) -> None:
    add(store, mine, "train-1", 1)
    assert ids(find_all(["train", "train-1", "train-"], scope, "wait")) == ["train-1"]


def test_to_cancel_a_job_is_to_cancel_its_unfinished_runs_and_without_a_question_only_one(
    store: Store, scope: Scope, mine: Path, other: Path
) -> None:
    add(store, mine, "train-1", 1)
    add(store, mine, "train-2", 2)
    add(store, mine, "train-3", 3, ended=True)
    add(store, other, "train-4", 4)
    assert ids(choose(["train"], scope, every=False, sure=False)) == ["train-2", "train-1"]
    with pytest.raises(ConfigError, match=r"job train has 2 unfinished runs: train-2, train-1\. Use a run's id, or"):
        choose(["train"], scope, every=False, sure=True)
    assert ids(choose(["train"], scope, every=True, sure=True)) == ["train-2", "train-1"]
    assert ids(choose(["train-1"], scope, every=False, sure=True)) == ["train-1"]
    assert ids(choose([], scope, every=True, sure=True)) == ["train-2", "train-1"]
    assert choose([], scope, every=False, sure=True) == [], "the newest one has ended"


def test_another_projects_job_is_not_cancelled_without_a_question(store: Store, scope: Scope, other: Path) -> None:
    add(store, other, "train-4", 4)
    with pytest.raises(UnknownRunError, match="mine has no runs yet"):
        choose([], scope, every=False, sure=True)
    for every in (True, False):
        with pytest.raises(ConfigError, match="this project has no run of job train, but other projects have: train-4"):
            choose(["train"], scope, every=every, sure=True)
    assert ids(choose(["train"], scope, every=False, sure=False)) == ["train-4"]
    assert ids(choose(["train-4"], scope, every=False, sure=True)) == ["train-4"]
    outside = replace(scope, project=None)
    for place in (scope, outside):
        with pytest.raises(ConfigError, match="train- is the beginning of the id of run train-4, which belongs to another"):
            choose(["train-"], place, every=False, sure=True)
        assert ids(choose(["train-"], place, every=False, sure=False)) == ["train-4"]
    with pytest.raises(
        ConfigError, match="is not in a project, so it has no run of job train, but other projects have: train-4"
    ):
        choose(["train"], outside, every=False, sure=True)


@pytest.mark.parametrize("name", ["50", "50_3"])
def test_a_part_of_a_run_is_not_cancelled_as_the_whole(store: Store, scope: Scope, mine: Path, name: str) -> None:
    add(store, mine, "sweep-1", 1, job_id="50,51", tasks=6, part=4)
    with pytest.raises(ConfigError, match=f"{name} is only a part of run sweep-1"):
        choose([name], scope, every=False, sure=False)


def test_a_project_that_moved_takes_its_runs_and_images_along(
    store: Store, scope: Scope, mine: Path, tmp_path: Path
) -> None:
    run = add(store, mine, "train-1", 1)
    store.built(mine, IMAGE)
    check_there(run.id, mine)
    new = mine.rename(tmp_path / "new place")
    with pytest.raises(ConfigError, match=rf"from {mine}, which no longer exists.*runs --moved-from {mine}' in its new"):
        check_there(run.id, mine)
    moved = replace(scope, project=new, folder=new)
    with pytest.raises(
        UnknownRunError, match=f"If this project was at {mine} before, run 'hpcdeploy runs --moved-from {mine}"
    ):
        newest(moved, "logs")
    # The folder of a script in /tmp that is gone with its parent, and has another name, is no hint.
    add(store, tmp_path / "tmp.x" / "pixi-gpu", "report-1", 2)
    with pytest.raises(UnknownRunError, match=f"If this project was at {mine} before"):
        newest(moved, "logs")
    add(store, tmp_path / "tmp.x" / "new place", "report-2", 3)
    with pytest.raises(UnknownRunError, match=r"'hpcdeploy runs --moved-from OLD' \(gone: .*mine, .*/tmp.x/new place\)"):
        newest(moved, "logs")
    assert follow_move("../mine", new, new, store) == 1
    assert newest(moved, "logs").run == replace(run, project=str(new))
    assert store.latest_build(new, "train") == IMAGE
    assert store.latest_build(mine, "train") is None
    assert (mine in store.projects(), new in store.projects()) == (False, True)
    with pytest.raises(UnknownRunError, match=r"--moved-from: the record has no project '\.\./mine'"):
        follow_move("../mine", new, new, store)


def test_a_copy_of_a_project_takes_nothing(store: Store, mine: Path, other: Path, tmp_path: Path) -> None:
    add(store, mine, "train-1", 1)
    with pytest.raises(ConfigError, match=f"{mine} is still a project"):
        follow_move(str(mine), other, other, store)
    with pytest.raises(ConfigError, match="is not in a project"):
        follow_move(str(mine), None, tmp_path, store)
    assert ids(store.latest(project=mine)) == ["train-1"]


def test_a_project_is_meant_by_its_folder_or_the_end_of_it(store: Store, mine: Path, other: Path, tmp_path: Path) -> None:
    add(store, mine, "train-1", 1)
    add(store, tmp_path / "gone" / "x", "train-2", 2)
    add(store, tmp_path / "far" / "x", "train-3", 3)
    (mine / "sub").mkdir()
    for words in ("mine", str(mine), ".", "sub", "../mine/sub"):
        assert find_project(words, mine, store) == mine
    assert find_project("../other", mine, store) == other
    assert find_project("far/x", mine, store) == tmp_path / "far" / "x"
    for words, what in (("x", "is ambiguous"), ("nothing", "has no recorded runs")):
        with pytest.raises(UnknownRunError, match=what):
            find_project(words, mine, store)


def test_the_project_of_a_run_by_an_older_release_is_that_of_its_request(tmp_path: Path) -> None:
    """An older hpcdeploy can still write to the file, and leaves the column empty."""
    path = tmp_path / "runs.db"
    store, run = Store(path), run_of(PLAIN)
    store.add(replace(run, project="/home/me/p"), "", request=Request(project="/home/me/p"))
    odd = zlib.compress(json.dumps({"project": "/caf\udce9"}).encode())
    with closing(sqlite3.connect(path)) as older:
        [text] = older.execute("SELECT run FROM runs").fetchone()
        assert "project" not in json.loads(text), "an older release refuses fields that it does not know"
        older.execute("UPDATE runs SET project = NULL")
        for run_id, request in (("odd", odd), ("damaged", b"x"), ("none", None)):
            older.execute(
                "INSERT INTO runs (id, cluster, scheduler, submitted, run, script) VALUES (?, 'hpc', 'slurm', 1, ?, X'')",
                (run_id, text.replace(run.id, run_id)),
            )
            older.execute("INSERT INTO requests VALUES (?, ?)", (run_id, request or b"")) if request else None
        older.commit()
    found = {one.run.id: one.run.project for one in store.latest()}
    assert found == {run.id: "/home/me/p", "odd": "/caf\udce9", "damaged": "", "none": ""}
    assert ids(store.latest(project=Path("/caf\udce9"))) == ["odd"]


def test_a_row_without_its_project_column_gets_one_and_many_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent.parent / "records" / "0.1.0.sql").read_text())
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(lambda _number: Store(path).latest(project=Path("/home/me/project")), range(16)))
    assert [ids(one) for one in found] == [["sweep-0123456789"]] * 16
