import json
import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.job import Array, Request
from hpcdeploy.parameters import Parameters
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store, default_path
from hpcdeploy.store.record_file import VERSION
from tests.scheduler.samples import PLAIN, TRAIN, run_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "runs.db")


def test_a_run_is_known_before_it_is_submitted_with_its_very_script(store: Store) -> None:
    store.add(run_of(TRAIN), "a script\n\udcff ☃")
    [known] = store.latest(most=1)
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


def test_runs_are_found_by_their_id_and_by_the_beginning_of_it(store: Store) -> None:
    for run_id in ("train-11", "train-12", "eval-1", "eval-1-2"):
        store.add(run_of(PLAIN, run_id=run_id), "")
    assert [one.run.id for one in store.find(["train-11", "eval-1"])] == ["train-11", "eval-1"]
    with pytest.raises(UnknownRunError, match="the record has no run 'train-'"):
        store.find(["train-"])
    assert [one.run.id for one in store.with_prefix("eval-1")] == ["eval-1-2", "eval-1"]
    assert [one.run.id for one in store.with_prefix("train-", most=1)] == ["train-12"]
    assert store.with_prefix("%") == []


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
    staged = StagedFile(sha256="0" * 64, size=1, path="inputs/0", what="the input", source="/data")
    for run in (first, second):
        store.add(run, "script", (staged,))
    store.resumed(first)
    store.resumed(first)
    for run in (first, second):
        store.forget(run)
    assert [status.run.id for status in store.latest()] == [first.id]
    assert (store.uploads(first), store.uploads(second)) == ((staged,), ())
    with pytest.raises(UnknownRunError, match="the record has no run 'train-2222222222'"):
        store.resumed(second)


def test_of_two_runs_of_one_id_the_second_is_refused(store: Store) -> None:
    store.add(run_of(TRAIN), "first")
    with pytest.raises(ConfigError, match=rf"already has a run '{run_of(TRAIN).id}'; .* --resume"):
        store.add(run_of(TRAIN), "second")
    assert store.script(run_of(TRAIN)) == "first"


def test_the_record_is_for_its_owner_alone_whatever_the_umask_and_whoever_made_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "hpcdeploy" / "runs.db"
    before = os.umask(0)
    try:
        Store(path).add(run_of(TRAIN), "script")
        assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
        path.chmod(0o644)
        path.parent.chmod(0o755)
        assert Store(path).latest()
        assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    finally:
        os.umask(before)


def test_a_record_without_a_version_is_opened_and_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = Store(path)
    store.add(run_of(TRAIN), "script")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    assert [known.run for known in store.latest()] == [run_of(TRAIN)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_record_of_a_newer_version_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(ConfigError, match=rf"by a newer hpcdeploy: expected tables of version {VERSION}, found .* XDG_S"):
        Store(path).latest()


def test_a_record_that_another_process_holds_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    Store(path).add(run_of(TRAIN), "script")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            ConfigError, match=r"database is locked; another process has locked the file for 0\.1 s; wait for "
        ):
            Store(path, locked_for=0.1).latest()


DAMAGED = (
    ("run", "{"),
    ("run", ""),
    ("run", b"\xff\xfe"),
    ("run", "[]"),
    ("run", "[" * 100_000 + "]" * 100_000),
    ("run", None),
    ("run", 12),
    ("run", "{}"),
    ("run", '{"id": 1}'),
    ("tasks", "nonsense"),
    ("tasks", '[{"task": 0, "state": "DANCING"}]'),
    ("tasks", '[{"task": "x", "state": "RUNNING"}]'),
    ("tasks", '[{"task": 0, "state": ["RUNNING"]}]'),
    ("tasks", '[{"unknown": 0, "state": "RUNNING"}]'),
    ("asked", "yesterday"),
    *(
        ("run", json.dumps({**asdict(run_of(TRAIN)), **change}))
        for change in (
            {"submitted": "x"},
            {"tasks": None},
            {"command": "x"},
            {"command": [1]},
            {"submitted": 10**30},
            {"new": 1},
        )
    ),
)


@pytest.mark.parametrize(("column", "value"), DAMAGED)
def test_a_damaged_row_is_one_message_and_the_others_are_shown(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "runs.db"
    store = Store(path)
    bad, good = run_of(TRAIN, run_id="train-bad0000000"), run_of(TRAIN, run_id="train-1111111111")
    for run in (good, bad):
        store.add(run, "script")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        table = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()[0].replace("NOT NULL", "")
        connection.executescript(
            f"ALTER TABLE runs RENAME TO old; {table}; INSERT INTO runs SELECT * FROM old; DROP TABLE old"
        )
        text = f"CAST(X'{value.hex()}' AS TEXT)" if isinstance(value, bytes) else "?"
        connection.execute(
            f"UPDATE runs SET {column} = {text} WHERE id = ?", (*(() if isinstance(value, bytes) else (value,)), bad.id)
        )
        connection.commit()
    said: list[str] = []
    assert [known.run for known in store.latest(damaged=said.append)] == [good]
    [message] = said
    assert re.search(
        rf"^the record .*runs\.db is damaged: the entry of run '{bad.id}' cannot be read \(.*delete the row with the id",
        message,
    )
    asked: tuple[Callable[[], object], ...] = (store.latest, lambda: store.find([bad.id]), lambda: store.with_prefix(bad.id))
    for ask in asked:
        with pytest.raises(ConfigError, match="is damaged"):
            ask()
    assert store.find([good.id])[0].run == good


def test_damaged_rows_of_images_and_scripts_are_one_message_each(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store, run = Store(path), run_of(TRAIN)
    image = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="2026-01-02T03:04:05Z")
    staged = StagedFile(sha256="0" * 64, size=1, path="inputs/0", what="the input", source="/data")
    store.add(run, "script", (staged,), Request(project="/p"))
    store.built(tmp_path, image)
    store.locked(tmp_path, image, b"lock")
    store.built_from(tmp_path, image, "inputs")
    store.know_files(tmp_path, "train", "files")
    store.published(PublishedImage(repository="r", manifest="m", sha256="ab" * 32, size=1), when=1)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "UPDATE runs SET script = 'text'; UPDATE parcels SET parcels = '[{}]'; UPDATE requests SET request = X'00';"
            "UPDATE built SET image = '{\"name\": 1}'; UPDATE locks SET lock = X'00'; UPDATE inputs SET inputs = X'00';"
            "UPDATE known_files SET files = X'00'; UPDATE published SET size = 'large';"
        )
    asked: tuple[Callable[[], object], ...] = (
        lambda: store.script(run),
        lambda: store.uploads(run),
        lambda: store.request(run),
        lambda: store.latest_build(tmp_path, "train"),
        lambda: store.latest_lock(tmp_path, "train"),
        lambda: store.latest_inputs(tmp_path, image),
        lambda: store.publications("ab" * 32),
    )
    for ask in asked:
        with pytest.raises(
            ConfigError, match=r"is damaged: .* cannot be read \(.*other entries are not affected\. (Submit|Run|Push) "
        ):
            ask()
    assert store.known_files(tmp_path, "train") == ""


def test_a_record_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    Store(path).add(run_of(TRAIN), "script")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    readonly = f"file:{path}?mode=ro"

    class ReadOnly(Store):
        """A record as on a read-only file system: root may write to every other file."""

        def _connect(self) -> sqlite3.Connection:
            return sqlite3.connect(readonly, uri=True)

    assert [known.run for known in ReadOnly(path).latest()] == [run_of(TRAIN)]


def test_a_record_of_an_earlier_version_opens_unchanged(tmp_path: Path) -> None:
    """Read what hpcdeploy 0.1.0 wrote before the record had a version (the Store of commit 8e24f9d, as SQL)."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "records" / "0.1.0.sql").read_text())
    store, project = Store(path), Path("/home/me/project")
    [known] = store.latest(project=project)
    run = Run(
        id="sweep-0123456789",
        job="sweep",
        cluster="hpc",
        scheduler="slurm",
        image="train",
        sha256="ab" * 32,
        tasks=2,
        command=("python", "train.py", "caf\udce9"),
        submitted=1767322984,
        job_id="12",
        folder="/scratch/me/hpcdeploy/runs/sweep-0123456789",
        outputs=("model.pt",),
        code_sha256="cd" * 32,
        code_commit="ef" * 20,
        code_dirty=True,
        project=str(project),
    )
    done = TaskStatus(task=0, state=State.COMPLETED, exit_code=0, node="n1", started=1767322990, ended=1767322999)
    alive = TaskStatus(task=1, state=State.RUNNING, word="RUNNING", node="n2", started=1767322990)
    assert known == RunStatus(run=run, tasks=(done, alive), asked=1767323000)
    assert store.script(run) == "#!/bin/bash\ncaf\udce9\n"
    [staged] = store.uploads(run)
    assert (staged.becomes, staged.size) == ("code/x", 1200)
    parameters = Parameters(names=("lr",), rows=(("0.1",), ("0.2",)))
    assert store.request(run) == Request(
        project=str(project),
        job="sweep",
        options={"gpus": 1, "command": ["python"], "environment": {"A": "b"}},
        array=Array(size=2, throttle=1, parameters=parameters, numbers=(3, 4)),
    )
    image = store.latest_build(project, "train")
    assert image
    assert (image.built_on, image.path, store.latest_build_on(project, "train", "hpc")) == ("hpc", "/c/train.sif", image)
    assert store.latest_lock(project, "train") == ("2026-01-02T03:04:05Z", b"lock \xff")
    assert (store.latest_inputs(project, image), store.known_files(project, "train")[:9]) == ("inputs", '{"files":')
    assert [one.repository for one in store.publications("ab" * 32)] == ["ghcr.io/me/train"]


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who owns nothing, as to files (credentials(7)); tests run as root, to whom nothing is closed."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """Give a folder that everybody can read, and only root can write to."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:  # pytest's own, which are private
            folder.chmod(0o755)
    return tmp_path


def test_a_record_that_cannot_be_made_is_an_empty_one_to_whoever_reads(open_folder: Path) -> None:
    store = Store(open_folder / "home" / "hpcdeploy" / "runs.db")
    with nobody():
        assert store.latest() == []
        assert store.latest_build(open_folder, "default") is None
        assert store.known_files(open_folder, "default") == ""
        assert (store.projects(), store.labels(), store.with_job_id("1")) == ([], [], [])
        with pytest.raises(ConfigError, match=r"cannot be used: .*Permission denied.*set XDG_STATE_HOME"):
            store.add(run_of(PLAIN), "")
    assert list(open_folder.iterdir()) == []


def test_a_record_that_cannot_be_written_is_read(open_folder: Path) -> None:
    path = open_folder / "deep" / "runs ?#%.db"
    Store(path).add(run_of(PLAIN), "a script")
    with closing(sqlite3.connect(path)) as older:
        older.executescript("DROP TABLE known_files; DROP TABLE built_on; PRAGMA user_version = 0")
    path.parent.chmod(0o755)
    path.chmod(0o644)
    before = path.read_bytes()
    with nobody():
        [known] = Store(path).latest()
        assert Store(path).script(known.run) == "a script"
        assert Store(path).known_files(open_folder, "default") == ""
        with pytest.raises(ConfigError, match="cannot be used: attempt to write a readonly database"):
            Store(path).resumed(known.run)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_record_that_may_not_be_read_is_told(open_folder: Path) -> None:
    path = open_folder / "deep" / "runs.db"
    Store(path).add(run_of(PLAIN), "")
    path.chmod(0o600)
    path.parent.chmod(0o755)
    with nobody(), pytest.raises(ConfigError, match="cannot be used"):
        Store(path).latest()


def test_the_keys_of_a_build_are_recorded_where_older_releases_do_not_read_them(store: Store, tmp_path: Path) -> None:
    plain = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="cd" * 32, apptainer="", created="")
    later = {"environment", "builder", "tools", "architecture", "untested"}
    keyed = replace(plain, environment="ef" * 32, builder="apptainer", tools=(("hpcdeploy", "1.0"),), architecture="arm64")
    keyed = replace(keyed, untested=True)
    store.built(tmp_path, plain)
    assert store.latest_build(tmp_path, "train") == plain
    store.built(tmp_path, keyed)
    assert store.latest_build(tmp_path, "train") == keyed
    assert store.built_images() == [(str(tmp_path.resolve()), keyed)]
    with closing(sqlite3.connect(tmp_path / "deep" / "runs.db")) as connection:
        for table in ("built", "builds"):
            for (row,) in connection.execute(f"SELECT image FROM {table}"):
                assert set(json.loads(row)) == set(asdict(plain)) - later
