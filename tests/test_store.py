import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.parcel import Parcel
from hpcdeploy.run import RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path
from tests.scheduler.samples import PLAIN, TRAIN, run_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "runs.db")


def test_a_run_is_known_before_it_is_submitted_with_its_very_script(store: Store) -> None:
    store.add(run_of(TRAIN), "a script\n\udcff ☃")
    [known] = store.find([])
    assert known.run == run_of(TRAIN)
    assert known.run.job_id == ""
    assert store.script(known.run) == "a script\n\udcff ☃"


def test_what_was_learned_is_kept(store: Store) -> None:
    run = run_of(PLAIN, job_id="12")
    store.add(run, "")
    status = RunStatus(run=run, tasks=(TaskStatus(task=0, state=State.FAILED, word="FAILED", exit_code=3),), asked=5)
    store.learned(status)
    assert store.find([run.id]) == [status]
    assert store.latest(alive=True) == []


def test_a_run_answers_to_the_beginning_of_its_id_if_no_other_does(store: Store) -> None:
    for run_id in ("train-11", "train-12", "eval-1", "eval-1-2"):
        store.add(run_of(PLAIN, run_id=run_id), "")
    assert store.find(["train-11"])[0].run.id == "train-11"
    assert store.find(["eval-1"])[0].run.id == "eval-1"
    with pytest.raises(UnknownRunError, match="is ambiguous:"):
        store.find(["train-"])
    with pytest.raises(UnknownRunError, match="no run 'x' is on record"):
        store.find(["x"])
    with pytest.raises(UnknownRunError, match="no run '%' is on record"):
        store.find(["%"])


def test_an_empty_record_says_what_to_do(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="hpcdeploy submit"):
        store.find([])


def test_many_at_once_lose_nothing(store: Store) -> None:
    def add(number: int) -> None:
        store.add(run_of(PLAIN, run_id=f"r-{number}"), "")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.latest()) == 30


def test_the_latest_publication_comes_first(store: Store) -> None:
    old = PublishedImage(repository="a.example.org/x", manifest="1" * 64, sha256="2" * 64, size=3)
    new = PublishedImage(repository="b.example.org/x", manifest="3" * 64, sha256="2" * 64, size=3)
    store.published(old, when=1)
    store.published(new, when=2)
    assert store.publications("2" * 64) == [new, old]
    assert store.publications("4" * 64) == []


def test_the_record_lies_where_the_xdg_folders_are() -> None:
    assert default_path({"XDG_STATE_HOME": "/s"}) == Path("/s/hpcdeploy/runs.db")
    assert default_path({"HOME": "/h"}) == Path("/h/.local/state/hpcdeploy/runs.db")


def test_builds_that_end_together_are_all_noted_in_a_new_record(tmp_path: Path) -> None:
    def note(number: int) -> None:
        image = BuiltImage(name=f"i{number}", sha256="ab" * 32, size=number, inputs="", apptainer="", created="")
        Store(tmp_path / "new" / "runs.db").built(tmp_path, image)

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(note, range(64)))
    store = Store(tmp_path / "new" / "runs.db")
    sizes = [image.size for image in (store.latest_build(tmp_path, f"i{number}") for number in range(64)) if image]
    assert sizes == list(range(64))


def test_the_lock_file_of_the_latest_build_is_kept_with_its_time(store: Store, tmp_path: Path) -> None:
    image = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="2026-01-02T03:04:05Z")
    assert store.latest_lock(tmp_path, "train") is None
    store.locked(tmp_path, image, b"old \xff")
    store.locked(tmp_path, image, b"new \xff" * 1000)
    assert store.latest_lock(tmp_path, "train") == ("2026-01-02T03:04:05Z", b"new \xff" * 1000)
    assert store.latest_lock(tmp_path, "other") is None


def test_a_run_that_another_call_has_resumed_is_not_forgotten_by_the_first_ones_failure(store: Store) -> None:
    first, second = run_of(TRAIN, run_id="train-1111111111"), run_of(TRAIN, run_id="train-2222222222")
    parcel = Parcel(sha256="0" * 64, size=1, path="inputs/0", what="the input", source="/data")
    for run in (first, second):
        store.add(run, "script", (parcel,))
    store.resumed(first)
    store.resumed(first)
    for run in (first, second):
        store.forget(run)
    assert [status.run.id for status in store.latest()] == [first.id]
    assert (store.parcels(first), store.parcels(second)) == ((parcel,), ())
    with pytest.raises(UnknownRunError, match="no run 'train-2222222222' is on record"):
        store.resumed(second)


def test_of_two_runs_of_one_id_the_second_is_refused(store: Store) -> None:
    store.add(run_of(TRAIN), "first")
    with pytest.raises(ConfigError, match=rf"a run '{run_of(TRAIN).id}' is on record already; .* --resume"):
        store.add(run_of(TRAIN), "second")
    assert store.script(run_of(TRAIN)) == "first"
