"""Cleaning a cluster: what goes, and above all what stays. Slurm's command is a function that prints a recorded queue.

tests/cluster/test_cleaning.py shows the same with the real schedulers.
"""

import fcntl
import json
import os
import subprocess
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hpcdeploy import limits
from hpcdeploy.cli.main import app
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.clean import Plan, carry_out, check_not_cleaned, ended_at, plan
from hpcdeploy.remote.cleaning import Cleaned, Item, cleaning, read_items
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import CLUSTER, PLAIN, run_of
from tests.sessions import session

DAY = 86400
NOW = int(time.time())
ONE, TWO = "1" * 64, "2" * 64


class Site:
    """A cluster's root on this machine, and the record of its runs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(mode=0o700)
        self.store = Store(folder / "state" / "runs.db")
        self.queue = ""

    @property
    def session(self) -> Session:
        squeue = f"squeue() {{ printf '%s\\n' {self.queue}; }}" if self.queue != "down" else "squeue() { return 1; }"
        cluster: Cluster = replace(CLUSTER, root=str(self.root), setup=(squeue,), schedulers=("slurm",))
        return session(cluster, LocalTransport())

    def run(
        self, run_id: str, *, days: int = 60, state: State = State.COMPLETED, script: str = "", known: bool = True
    ) -> Run:
        """Make a run, which ended some days ago, and its folder."""
        run = replace(run_of(PLAIN, run_id=run_id, job_id="12"), submitted=NOW - days * DAY - 60, cluster=CLUSTER.name)
        folder = self.root / "runs" / run_id
        for name in ("logs", "tasks", "output"):
            (folder / name).mkdir(parents=True, mode=0o700)
        (folder / "lock").touch()
        (folder / "id").symlink_to("12")
        (folder / "job.sh").write_text(script)
        (folder / "output" / "model").write_bytes(b"x" * 5000)
        for path in (self.root / "runs", folder):
            path.chmod(0o700)
        if known:
            self.store.add(run, "")
            ended = NOW - days * DAY if state is State.COMPLETED else 0
            task = TaskStatus(task=0, state=state, exit_code=0, ended=ended)
            self.store.learned(RunStatus(run=run, tasks=(task,), asked=NOW - days * DAY))
        return run

    def staged(self, name: str, *, days: int = 60, folder: bool = False) -> Path:
        path = self.root / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if folder:
            path.mkdir()
            (path / "train.py").touch()
        else:
            path.write_bytes(b"x")
        os.utime(path, (NOW - days * DAY,) * 2)
        return path

    def plan(self) -> Plan:
        return plan(self.session, self.store, older_than=30 * DAY)

    def clean(self) -> Cleaned:
        return carry_out(self.plan(), self.session, self.store, older_than=30 * DAY)

    def there(self) -> list[str]:
        return sorted(path.name for path in (self.root / "runs").iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def verdicts(items: object) -> dict[str, str]:
    return {one.name: one.verdict for one in items}  # type: ignore[attr-defined]


def test_old_ended_runs_go_and_their_record_stays_and_says_so(site: Site) -> None:
    old = site.run("old-1")
    site.run("new-1", days=3)
    planned = site.plan()
    assert [(one.name, one.verdict) for one in planned.found.runs] == [("old-1", "free")]
    assert planned.found.runs[0].size >= 5000
    assert site.there() == ["new-1", "old-1"]
    check_not_cleaned(site.store, old)
    assert verdicts(site.clean().runs) == {"old-1": "removed"}
    assert site.there() == ["new-1"]
    assert [one.run.id for one in site.store.find(["old-1"])] == ["old-1"]
    with pytest.raises(SchedulerError, match=r"old-1 on .* was removed by 'hpcdeploy clean' on 20"):
        check_not_cleaned(site.store, old)
    assert site.plan().runs == ()


@pytest.mark.parametrize("words", [["logs"], ["fetch"], ["submit", "--resume"]])
def test_verbs_that_need_the_folder_of_a_cleaned_run_say_so(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming it would submit a second job, because the link to the first one is gone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = Store(default_path(os.environ))
    run = run_of(PLAIN, run_id="old-1", job_id="12")
    store.add(run, "")
    store.learned(RunStatus(run=run, tasks=(TaskStatus(task=0, state=State.COMPLETED),), asked=NOW))
    store.cleaned([run], when=NOW)
    done = CliRunner().invoke(app, [*words, "old-1"])
    assert isinstance(done.exception, SchedulerError)
    assert "was removed by 'hpcdeploy clean'" in str(done.exception)


def test_a_run_stays_that_has_a_job_in_the_queue_or_that_another_run_names(site: Site) -> None:
    site.run("again-1")
    site.run("large-1")
    site.run("input-1")
    site.run("before-1")
    site.run("free-1")
    site.run("reads-1", days=1, script='--bind "/root/runs/input-1/output:/in"\n')
    waiting = site.run("waits-1", known=False)
    (site.root / "runs" / waiting.id / "wait.sh").write_text("after=(afterok before-1 4)\n")
    site.queue = "again-1 large-1.1000 else"
    kept = {"again-1": "queued", "large-1": "queued", "input-1": "named", "before-1": "named"}
    assert verdicts(site.plan().found.runs) == kept | {"free-1": "free"}
    assert verdicts(site.clean().runs) == {"free-1": "removed"}
    assert site.there() == ["again-1", "before-1", "input-1", "large-1", "reads-1", "waits-1"]


def test_of_runs_that_wait_for_each_other_all_go_at_once(site: Site) -> None:
    site.run("first-1")
    second = site.run("second-1")
    (site.root / "runs" / second.id / "wait.sh").write_text("after=(afterok 'first-1' 4)\n")
    site.clean()
    assert site.there() == []


def test_a_run_whose_state_is_unknown_or_that_is_not_recorded_here_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run("unknown-1", state=State.UNKNOWN)
    site.run("running-1", state=State.RUNNING)
    site.run("elsewhere-1", known=False)
    monkeypatch.setattr("hpcdeploy.flows.clean.status", lambda known, *_rest: type("StatusReport", (), {"statuses": known}))
    planned = site.plan()
    assert (planned.runs, planned.found.runs) == ((), ())
    assert sorted(one.run.id for one in planned.kept) == ["running-1", "unknown-1"]
    site.clean()
    assert site.there() == ["elsewhere-1", "running-1", "unknown-1"]


def test_what_is_no_runs_folder_stays_and_links_lead_nowhere(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    (outside / "tasks").mkdir(parents=True)
    (outside / "logs").mkdir()
    (outside / "id").symlink_to("12")
    (outside / "file").touch()
    for name in ("link-1", "shared-1", "other-1"):
        site.run(name)
    runs = site.root / "runs"
    (runs / "link-1").rename(tmp_path / "moved")
    (runs / "link-1").symlink_to(outside)
    (runs / "shared-1").chmod(0o777)
    (runs / "other-1" / "id").unlink()
    links = site.run("links-1")
    (runs / links.id / "output" / "out").symlink_to(outside)
    (runs / links.id / "output" / "closed").mkdir()
    (runs / links.id / "output" / "closed" / "x").touch()
    (runs / links.id / "output" / "closed").chmod(0o500)
    kept = {"link-1": "foreign", "shared-1": "foreign", "other-1": "foreign"}
    assert verdicts(site.plan().found.runs) == kept | {"links-1": "free"}
    assert verdicts(site.clean().runs) == {"links-1": "removed"}
    assert site.there() == ["link-1", "other-1", "shared-1"]
    assert (outside / "file").exists()


def test_staged_files_go_that_are_old_and_that_no_run_names(site: Site) -> None:
    site.run("recent-1", days=2, script=f"placements=('code/{ONE}' /code folder)\n")
    site.run("old-1", script=f"placements=('code/{TWO}' /code folder)\n")
    named, free = site.staged(f"code/{ONE}", folder=True), site.staged(f"code/{TWO}", folder=True)
    count = site.staged(f"code/.{TWO}.count")
    young, archive = site.staged(f"inputs/{TWO}", days=3), site.staged(f"inputs/{TWO}.archive")
    unfinished, other = site.staged(f"inputs/.{TWO}.1024.parcel"), site.staged("inputs/mine.txt")
    names = {f"code/{TWO}": "free", f"inputs/{TWO}.archive": "free", f"inputs/.{TWO}.1024.parcel": "free"}
    for path in (site.root / "runs").glob("recent-1"):
        assert path.is_dir()
    planned = site.plan()
    assert verdicts(planned.found.staged) == names
    assert all(path.exists() for path in (free, archive, unfinished))
    assert verdicts(site.clean().staged) == dict.fromkeys(names, "removed")
    assert [path.exists() for path in (free, count, archive, unfinished)] == [False] * 4
    assert all(path.exists() for path in (named, young, other))
    assert not list(site.root.glob("*/.*remov*"))


def test_staged_files_of_a_run_that_stays_stay_too(site: Site) -> None:
    site.run("again-1", script=f"code/{ONE}")
    site.run("shared-1", script=f"code/{TWO}")
    (site.root / "runs" / "shared-1").chmod(0o777)
    site.staged(f"code/{ONE}")
    site.staged(f"code/{TWO}")
    site.queue = "again-1"
    assert site.plan().found.staged == ()


def test_no_staged_file_goes_while_a_run_is_in_submission(site: Site) -> None:
    staged = site.staged(f"code/{ONE}")
    folder = site.root / "runs" / site.run("begun-1", days=1, known=False).id
    (folder / "id").unlink()
    assert (site.plan().found.staged, site.plan().found.busy) == ((), True)
    old = NOW - 5 * DAY
    for path in (*folder.iterdir(), folder):
        os.utime(path, (old, old))
    with (folder / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert site.plan().found.busy
    os.utime(folder / "lock", (old, old))
    assert verdicts(site.plan().found.staged) == {f"code/{ONE}": "free"}
    assert staged.exists()


def test_a_run_that_begins_meanwhile_keeps_its_staged_files(site: Site) -> None:
    """The list is older than the run: the file is moved away, found named, and comes back."""
    staged = site.staged(f"code/{ONE}", folder=True)
    site.run("old-1")
    squeue = f"squeue() {{ printf 'code/{ONE}' >'{site.root}/runs/late-1/job.sh'; }}"
    planned = site.plan()
    site.run("late-1", days=0, known=False)
    cluster = replace(site.session.cluster, setup=(squeue,))
    done = carry_out(planned, session(cluster, LocalTransport()), site.store, older_than=30 * DAY)
    assert (verdicts(done.runs), done.staged) == ({"old-1": "removed"}, ())
    assert (staged / "train.py").exists()


def test_a_call_that_was_interrupted_is_finished(site: Site) -> None:
    site.run("old-1")
    (site.root / "runs" / ".removing.gone-1" / "output").mkdir(parents=True)
    back = site.staged(f"code/.{ONE}.removing", days=1, folder=True)
    away = site.staged(f"code/.{TWO}.removed", folder=True)
    site.clean()
    assert site.there() == []
    assert (site.root / "code" / ONE / "train.py").exists()
    assert not back.exists()
    assert not away.exists()


def printed(site: Site, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[str, str]:
    """Return standard output and standard error of ``hpcdeploy clean`` on the site."""
    connections = SimpleNamespace(to=lambda _cluster: site.session)
    place = SimpleNamespace(
        project=None,
        store=site.store,
        cluster=lambda _name: site.session.cluster,
        connections=lambda: nullcontext(connections),
    )
    monkeypatch.setattr("hpcdeploy.cli.place.here", lambda: place)
    done = CliRunner().invoke(app, ["clean", "--older-than", "30d", "--cluster", CLUSTER.name, *words])
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


@pytest.mark.parametrize("removable", [True, False])
@pytest.mark.parametrize("words", [("--dry-run",), ("--yes",)])
def test_the_output_tells_whether_anything_was_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], removable: bool
) -> None:
    site.run("queued-1")
    site.queue = "queued-1"
    if removable:
        site.run("old-1")
    out, _ = printed(site, monkeypatch, "--json", *words)
    found = json.loads(out)
    assert found["dry_run"] is ("--dry-run" in words)
    verdict = {"old-1": "free" if found["dry_run"] else "removed"} if removable else {}
    assert {one["run"]: one["verdict"] for one in found["runs"]} == verdict | {"queued-1": "queued"}
    _, err = printed(site, monkeypatch, *words)
    assert "queued-1 was kept: one of its jobs is in the queue" in err


def test_an_interrupted_call_is_finished_even_if_nothing_else_can_be_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = site.run("gone-1")
    (site.root / "runs" / gone.id).rename(site.root / "runs" / ".removing.gone-1")
    printed(site, monkeypatch, "--dry-run")
    assert site.there() == [".removing.gone-1"]
    out, err = printed(site, monkeypatch)
    assert (out, site.there()) == ("", [])
    assert "nothing to remove" in err
    assert site.plan().runs == ()


def test_without_an_answer_of_the_scheduler_nothing_is_removed(site: Site) -> None:
    site.run("old-1")
    planned = site.plan()
    site.queue = "down"
    with pytest.raises(SchedulerError, match=r"cannot query the scheduler.*nothing was removed"):
        carry_out(planned, site.session, site.store, older_than=30 * DAY)
    assert site.there() == ["old-1"]
    check_not_cleaned(site.store, planned.runs[0])


def test_a_folder_of_runs_that_others_may_change_is_refused(site: Site) -> None:
    site.run("old-1")
    (site.root / "runs").chmod(0o770)
    with pytest.raises(SchedulerError, match="others may write to it"):
        site.plan()
    assert site.there() == ["old-1"]


def test_a_root_that_others_may_change_is_refused_and_a_missing_one_is_clean(site: Site) -> None:
    site.run("old-1")
    site.root.chmod(0o777)
    with pytest.raises(SchedulerError, match="others may replace files"):
        site.plan()
    site.root.chmod(0o700)
    subprocess.run(["rm", "-r", str(site.root)], check=True)
    assert site.plan().found == Cleaned(runs=(), staged=())
    assert not site.root.exists()


def test_the_age_of_a_run_is_counted_from_its_last_end() -> None:
    run = replace(run_of(PLAIN), submitted=100)
    done = TaskStatus(task=0, state=State.COMPLETED, ended=300)
    never = TaskStatus(task=1, state=State.CANCELLED)
    assert ended_at(RunStatus(run=run, tasks=(done, replace(done, ended=200)), asked=900)) == 300
    assert ended_at(RunStatus(run=run, tasks=(done, never), asked=900)) == 900


def test_only_what_was_asked_for_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"removed 4 run-1\nfree x run-2\nwhat 1 run-3\nfree 1\n\nremoved 99999999999999999999 run-4\n"
    assert list(read_items(content)) == [Item(name="run-1", verdict="removed", size=4096)]
    monkeypatch.setattr(limits, "MOST_CLEANED", 2)
    with pytest.raises(SchedulerError, match="more than 2 runs"):
        list(read_items(content))


def test_the_script_of_a_list_removes_nothing_by_its_header(site: Site) -> None:
    script = cleaning(site.session.cluster, [], None, "fence", older_than=60)
    assert "\nlisting=yes\n" in script
    assert "\nlisting=no\n" in cleaning(site.session.cluster, [], [], "fence", older_than=60)
