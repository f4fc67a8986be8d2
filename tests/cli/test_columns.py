"""Tables on terminals of several widths: a run's id is whole at each of them."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hpcdeploy.apptainer.build_progress import BuildEvent
from hpcdeploy.cli import clean, many, show, tags
from hpcdeploy.cli.columns import Column, fit, labelled, stacked, wrapped
from hpcdeploy.cli.image_options import ShownBuild
from hpcdeploy.cli.status_text import print_recorded, print_statuses, project_names
from hpcdeploy.cli.watch import page
from hpcdeploy.flows.follow import StatusReport
from hpcdeploy.flows.tags import Listed
from hpcdeploy.registry.tag_details import TagDetails
from hpcdeploy.run import RunStatus, State, TaskStatus
from tests.scheduler.samples import PLAIN, run_of

WAITS = TaskStatus(task=0, state=State.PENDING, reason="ReqNodeNotAvail, UnavailableNodes:n001,n002")
NAME = "a-rather-long-name-of-a-job-5f0c1ab2de"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[40, 60, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("TERM", "xterm")
    return int(request.param)


def status(run_id: str = NAME, project: str = "/home/me/p", task: TaskStatus = WAITS) -> RunStatus:
    run = replace(run_of(PLAIN, run_id=run_id, job_id="81723"), project=project, cluster="a-cluster-with-a-long-name")
    return RunStatus(run=run, tasks=(task,), asked=1)


def lines_of(print_it: object, *arguments: object, **options: object) -> list[str]:
    terminal = Terminal()
    with redirect_stdout(terminal), redirect_stderr(terminal):
        print_it(*arguments, **options)  # type: ignore[operator]
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


def test_runs_shows_whole_ids_and_no_line_is_too_long(width: int) -> None:
    lines = lines_of(print_recorded, [status(), status("train-1", "/home/me/q")], Path("/home/me/p"), json=False)
    assert {NAME, "train-1"} <= {line.split()[0] for line in lines if line.split()}
    assert "PENDING" in " ".join(lines)
    assert max(map(len, lines)) <= width


def test_status_shows_whole_ids_and_its_notes_wrap_between_words(width: int) -> None:
    lines = lines_of(print_statuses, [status()], json=False)
    assert NAME in {line.split()[0] for line in lines if line.split()}
    notes = [line for line in lines if line.startswith(("note: ", "      "))]
    assert notes
    assert max(map(len, lines)) <= width


def test_watch_shows_whole_ids_at_each_width(width: int) -> None:
    console = Console(width=width, height=60, force_terminal=True, color_system=None, record=True, file=io.StringIO())
    runs = tuple(status(f"train-{number}f0c1ab2de", task=replace(WAITS, state=state)) for number, state in enumerate(State))
    console.print(page(StatusReport(statuses=runs[:4], failures=("hpc: no answer " * 9,)), console))
    lines = console.export_text().splitlines()
    assert {one.run.id for one in runs[:4]} <= {line.split()[0] for line in lines if line.split()}
    assert max(map(len, lines)) <= width


def test_at_80_columns_every_column_of_a_usual_run_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    run = replace(run_of(PLAIN, run_id="train-5f0c1ab2de", job_id="81723"), project="/home/me/p")
    known = RunStatus(run=run, tasks=(replace(WAITS, reason="Priority"),), asked=1)
    lines = lines_of(print_recorded, [known], Path("/home/me/p"), json=False)
    [head] = [line for line in lines if "RUN" in line]
    assert head.split() == ["RUN", "CLUSTER", "SCHEDULER", "JOB", "ID", "STATE", "EXIT", "SUBMITTED"]


def test_the_project_is_a_column_unless_all_runs_are_of_the_one_here() -> None:
    own, other = status(), status("train-1", "/home/me/q")
    for known, here, shown in (
        ([own], Path("/home/me/p"), False),
        ([own], None, True),
        ([own], Path("/home/me/q"), True),
        ([own, other], Path("/home/me/p"), True),
    ):
        text = io.StringIO()
        with redirect_stdout(text):
            print_recorded(known, here, json=False)
        assert ("PROJECT" in text.getvalue()) is shown
    assert project_names(["/a/x", "/b/x", "/a/y", "", "/a/x"]) == ["a/x", "b/x", "y", "-", "a/x"]


def test_a_state_that_may_have_changed_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    done = status("done-1", task=replace(WAITS, state=State.COMPLETED, reason="", exit_code=0))
    known = [status(), replace(status("new-1"), tasks=(), asked=0), done]
    print_recorded(known, Path("/home/me/p"), json=False)
    text = capsys.readouterr()
    rows = {line.split()[0]: line for line in text.out.splitlines()}
    assert " d ago]" in rows[NAME]
    assert "PENDING [not queried yet]" in rows["new-1"]
    assert "[" not in rows["done-1"]
    assert "hpcdeploy status --all" in text.err
    print_statuses(known, json=True)
    assert capsys.readouterr().out.count('"current": false') == 2


def test_columns_that_wrap_become_narrower_before_one_is_left_out() -> None:
    columns = [Column("RUN", whole=True), Column("A", drop=1), Column("B", drop=2), Column("STATE")]
    assert fit(columns, [20] * 4, [10] * 4, 200) == {0: 20, 1: 20, 2: 20, 3: 20}
    assert fit(columns, [20] * 4, [10] * 4, 63) == {0: 20, 1: 11, 2: 12, 3: 12}
    assert fit(columns, [20] * 4, [10] * 4, 48) == {0: 20, 2: 11, 3: 11}
    assert fit(columns, [20] * 4, [10] * 4, 35) == {0: 20, 3: 11}
    assert fit(columns, [20] * 4, [10] * 4, 33) == {}


def test_a_column_is_left_out_before_a_word_of_another_is_broken() -> None:
    columns = [Column("RUN", whole=True), Column("CLUSTER", drop=1), Column("STATE"), Column("WHY", cut=True)]
    assert fit(columns, [20, 8, 40, 40], [20, 8, 28, 40], 74) == {0: 20, 1: 8, 2: 28, 3: 10}
    assert fit(columns, [20, 8, 40, 40], [20, 8, 28, 40], 73) == {0: 20, 2: 28, 3: 19}
    assert fit(columns, [20, 8, 40, 40], [20, 8, 29, 40], 64) == {}
    # A word that no line can hold is broken, but leaves out no column.
    assert fit(columns, [20, 8, 200, 40], [20, 8, 90, 40], 60) == {0: 20, 1: 8, 2: 12, 3: 12}


def test_a_digest_or_a_path_is_whole_in_every_table(width: int) -> None:
    digest, path = f"sha256:{'0123456789abcdef' * 4}", f"code/{'0123456789abcdef' * 4}.tar"
    tag = TagDetails(tag="a-long-tag-1.2.3", digest=digest, created=1, size=1)
    for lines, whole in (
        (lines_of(tags.print_tags, Listed(repository="r", tags=(tag,)), 0), {tag.tag, digest}),
        (lines_of(many.print_table, [["train", "built", "5 MB", digest]], "SHA256", failed=False), {"train", digest}),
        (lines_of(clean.print_items, [("run", NAME, "5 MB"), ("staged file", path, "5 MB")], "REMOVED"), {NAME, path}),
    ):
        assert whole <= {word for line in lines for word in line.split()}


def test_facts_wrap_between_words_and_a_long_word_goes_below_its_name(width: int) -> None:
    url = "https://conda.example.org/hpcdeploy-demo/"
    built = "since the last build (2026-11-29T19:58:35Z)"
    facts = [("CUDA wanted", "12"), ("locked", "default (linux-64); gpu (linux-64); test (linux-64, osx-arm64)")]
    facts += [("channels", url), (built, "nothing changed"), ("image", NAME)]
    lines = lines_of(show.labelled_facts, "default: /home/me/p/pixi.lock, environment gpu", facts)
    words = {word for line in lines for word in line.split()}
    assert {url, NAME, "osx-arm64)"} <= words
    assert all(len(line) <= width or line.strip() in (url, built, NAME) for line in lines)
    assert labelled([("a", "x y"), ("name", "long-word")], 14) == ["  a     x y", "  name", "    long-word"]


def test_the_steps_of_a_build_wrap_between_words(width: int) -> None:
    event = BuildEvent(elapsed=3, text="unchanged: an image of these inputs exists (--force builds it again)", is_step=True)
    lines = lines_of(ShownBuild().report, event)
    assert " ".join(" ".join(lines).split()) == f"[ 3 s] {event.text}"
    assert max(map(len, lines)) <= width
    assert all(line.startswith(" " * 10) for line in lines[1:])


def test_a_progress_bar_fits_on_one_line(width: int) -> None:
    terminal = Terminal()
    with redirect_stderr(terminal), show.transfer("uploading the build's files") as progress:
        progress(30_700, 30_700)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    [last] = {line.strip() for line in lines if "kB" in line and "30.7/30.7" in line}
    assert last.startswith("uploading")


def test_results_leave_out_the_node_first_and_name_the_task_in_a_block() -> None:
    columns = [Column("TASK"), Column("STATE"), Column("NODE", drop=1)]
    assert stacked(columns, ["7", "FAILED", "n1"], 40) == ["TASK 7", "  STATE FAILED  NODE n1"]


def test_a_word_is_never_broken() -> None:
    assert wrapped(f"resume {NAME} or cancel it", 20, later="  ") == ["resume", f"  {NAME}", "  or cancel it"]


def test_a_pipe_gets_every_column_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    show.table((Column("RUN", whole=True), Column("WHY", drop=1)), [("a", "x" * 300)])
    assert capsys.readouterr().out == f"RUN  WHY\na    {'x' * 300}\n"
