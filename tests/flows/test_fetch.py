"""What comes home from a run's folder, how often, and what never does. The cluster is this machine."""

import hashlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cli.runs import counted
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, SchedulerError
from hpcdeploy.flows.fetch import Fetched, fetch
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import ignore_output
from hpcdeploy.remote import download
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.download import groups
from hpcdeploy.remote.listing import RemoteFile, inside, leads_out, read_listing
from hpcdeploy.remote.session import RetryPolicy
from hpcdeploy.run import Run
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport
from tests.disks import small_disk
from tests.scheduler.samples import PLAIN, run_of

RUN = run_of(PLAIN)
ODD = (
    *("a b", "it's", '"quoted"', "$HOME", "$(id)", "new\nline", "naïve ☃", "-dash", "--help", "back\\slash", "*", "#hash"),
    *("ü/deep er/ö", " leading", "trailing ", "tab\there", "x" * 150 + "/" + "y" * 150, "latin-\udce9", ".hidden"),
)


class Watched(LocalTransport):
    """This machine, whose commands are counted, and whose connection dies at those that are told."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Sequence[str]] = []
        self.dies_at: set[int] = set()
        self.before: Callable[[int], None] = lambda _number: None
        self.listed: bytes = b""
        """What the listing of the output names besides what is there."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> Completed:
        self.commands.append(argv)
        number = len(self.commands)
        self.before(number)
        if number in self.dies_at:
            raise ConnectionLostError("this machine: the connection died")
        done = super().run(argv, stdin=stdin, on_stdout=on_stdout, on_stderr=on_stderr, timeout=timeout, limit=limit)
        return replace(done, stdout=done.stdout.replace(b" begin output\n", b" begin output\n" + self.listed))


@pytest.fixture
def machine() -> Watched:
    return Watched()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "runs" / RUN.id
    (folder / "output").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "logs" / "0.out").write_text("hello\n")
    return folder


@pytest.fixture
def bring(machine: Watched, there: Path, tmp_path: Path) -> Callable[..., Fetched]:
    def download_image(*patterns: str, run: Run = RUN, to: str = "home") -> Fetched:
        cluster = Cluster(name="c", root=str(there.parents[1]))
        with Connections(lambda _: machine, retry=RetryPolicy(pauses=(0, 0))) as connections:
            return fetch(run, tmp_path / to, connections.to(cluster), patterns=patterns)

    return download_image


def write(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_files_of_every_name_links_and_programs_come_home_as_they_are(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", *ODD)
    (there / "output" / "a b").chmod(0o700)
    (there / "output" / "latest").symlink_to("./ü/../a b")
    done = bring()
    home = tmp_path / "home"
    assert names(home) == {f"output/{name}" for name in (*ODD, "latest")} | {"logs/0.out", ".hpcdeploy-run"}
    assert os.readlink(home / "output" / "latest") == "./ü/../a b"  # noqa: PTH115
    assert (home / "output" / "a b").stat().st_mode & 0o777 == 0o755
    assert set(done.files) == set(done.brought) == {home / name for name in names(home) - {".hpcdeploy-run"}}
    assert done.notes == ()


def test_the_second_time_only_what_changed_comes(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched
) -> None:
    write(there / "output", "same", "longer", "younger", "link-target")
    (there / "output" / "link").symlink_to("same")
    bring()
    before = len(machine.commands)
    assert bring().brought == ()
    assert len(machine.commands) == before + 1
    write(there / "output", "longer", content="xyz")
    write(there / "output", "younger", content="y")
    write(there / "output", "new")
    (there / "output" / "link").unlink()
    (there / "output" / "link").symlink_to("link-target")
    done = bring()
    home = tmp_path / "home" / "output"
    assert {path.name for path in done.brought} == {"longer", "younger", "new", "link"}
    assert (home / "younger").read_text() == "y"
    assert len(done.files) == 7


def test_a_file_that_was_lost_or_damaged_here_comes_again(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a", "b")
    bring()
    (tmp_path / "home" / "output" / "a").unlink()
    (tmp_path / "home" / "output" / "b").write_text("mine")
    assert len(bring().brought) == 2
    assert (tmp_path / "home" / "output" / "b").read_text() == "x"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("model.pt",), {"model.pt"}),
        (("*.pt", "model.pt"), {"model.pt", "best.pt"}),
        (("plots",), {"plots/a.png", "plots/deep/b.png"}),
        (("plots/*.png", "nothing*"), {"plots/a.png"}),
        (("?odel.p[a-z]",), {"model.pt"}),
        (("with space/$x *",), {"with space/$x 1"}),
        (("-dash", ".hid*"), {"-dash", ".hidden"}),
        (("*",), {"model.pt", "best.pt", "plots/a.png", "plots/deep/b.png", "with space/$x 1", "-dash"}),
    ],
)
def test_patterns_choose_by_the_shells_rules_and_a_folder_means_all_in_it(
    patterns: tuple[str, ...], expected: set[str], bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    every = ("model.pt", "best.pt", "plots/a.png", "plots/deep/b.png", "with space/$x 1", "-dash", ".hidden")
    write(there / "output", *every)
    bring(*patterns)
    assert names(tmp_path / "home") - {".hpcdeploy-run"} == {f"output/{name}" for name in expected}


def test_patterns_are_those_of_each_tasks_working_folder(bring: Callable[..., Fetched], there: Path, tmp_path: Path) -> None:
    write(there / "output", "0/model.pt", "1/model.pt", "11/model.pt", "11/other", "model.pt")
    bring("model.pt", run=replace(RUN, tasks=12))
    assert names(tmp_path / "home" / "output") == {"0/model.pt", "1/model.pt", "11/model.pt"}


def test_a_jobs_outputs_come_with_its_logs_and_those_of_a_working_folder_of_its_own_too(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(tmp_path / "my work", "model.pt", "data/huge")
    bring(run=replace(RUN, workdir=str(tmp_path / "my work"), outputs=("model.pt",)))
    assert names(tmp_path / "home") == {"output/model.pt", "logs/0.out", ".hpcdeploy-run"}
    bring(run=replace(RUN, workdir=str(tmp_path / "my work")), to="logs alone")
    assert names(tmp_path / "logs alone") == {"logs/0.out", ".hpcdeploy-run"}


def test_what_leads_out_or_is_no_file_stays_there_and_is_told(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "good")
    os.mkfifo(there / "output" / "pipe")
    (there / "output" / "absolute").symlink_to("/etc/passwd")
    (there / "output" / "out").symlink_to("../logs/../../other")
    (there / "output" / "deep").mkdir()
    (there / "output" / "deep" / "in").symlink_to("../good")
    done = bring()
    assert names(tmp_path / "home" / "output") == {"good", "deep/in"}
    assert sorted(done.notes) == [
        "left out: output/absolute, a link to outside the run's folder",
        "left out: output/out, a link to outside the run's folder",
        "left out: output/pipe, which is not a file, folder or link",
    ]


def test_nothing_is_written_through_a_link_that_was_fetched_before(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a/file")
    (there / "output" / "b").symlink_to("a")
    bring()
    (there / "output" / "b").unlink()
    write(there / "output", "b/file", content="other")
    bring()
    assert (tmp_path / "home" / "output" / "a" / "file").read_text() == "x"
    assert (tmp_path / "home" / "output" / "b" / "file").read_text() == "other"


def test_a_folder_here_where_a_file_is_there_is_told_and_the_others_come(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a/file")
    bring()
    subprocess.run(["rm", "-r", str(there / "output" / "a")], check=True)
    write(there / "output", "a", "b")
    done = bring()
    assert done.notes == (
        "left out: output/a, a file on the cluster but a folder on this machine; move the folder away and fetch again",
    )
    assert done.brought == (tmp_path / "home" / "output" / "b",)
    subprocess.run(["rm", "-r", str(tmp_path / "home" / "output" / "a")], check=True)
    assert bring().brought == (tmp_path / "home" / "output" / "a",)


def test_a_large_file_goes_on_where_a_dead_connection_stopped(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 1000)
    content = "".join(f"{number:09}\n" for number in range(1234))
    write(there / "output", "large", content=content)
    machine.dies_at = {5, 6, 7}
    with pytest.raises(ConnectionLostError):
        bring()
    assert not (tmp_path / "home" / "output" / "large").exists()
    machine.dies_at = set()
    asked = len(machine.commands)
    done = bring()
    assert (tmp_path / "home" / "output" / "large").read_text() == content
    assert tmp_path / "home" / "output" / "large" in done.brought
    offsets = [argv[-2] for argv in machine.commands[asked:] if "tail -c" in argv[2]]
    assert offsets[0] == "3001"
    assert len(offsets) == 10
    assert not (tmp_path / "home" / ".hpcdeploy-parts").exists()


def test_a_connection_that_dies_now_and_then_is_opened_again(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched
) -> None:
    write(there / "output", *ODD)
    machine.dies_at = {1, 3, 4}
    assert len(bring().files) == len(ODD) + 1


def test_what_came_before_a_cut_does_not_come_again(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcdeploy.remote.download._MOST_FILES", 2)
    write(there / "output", "a", "b", "c", "d")
    machine.dies_at = {3, 4, 5}
    with pytest.raises(ConnectionLostError):
        bring()
    machine.dies_at = set()
    assert len(bring().brought) == 3  # two of the output, and the log


@pytest.mark.parametrize("deed", ["grows", "shrinks", "vanishes"])
@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_changes_meanwhile_is_told_and_right_the_next_time(
    deed: str,
    large: bool,
    bring: Callable[..., Fetched],
    there: Path,
    tmp_path: Path,
    machine: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr(download, "CHUNK", 1000)
    write(there / "output", "file", content="x" * 5000)

    def meddle(number: int) -> None:
        if number == 2 and deed == "vanishes":
            (there / "output" / "file").unlink()
        elif number == 2:
            write(there / "output", "file", content="y" * (9000 if deed == "grows" else 10))

    machine.before = meddle
    done = bring()
    file = tmp_path / "home" / "output" / "file"
    told = (
        "changed during the download" if file.exists() else "was not downloaded: it changed, was removed or cannot be read"
    )
    assert done.notes == (f"output/file {told}; fetch again when it no longer changes",)
    assert (done.changed, done.missing) == (((file,), ()) if file.exists() else ((), (file,)))
    assert file.exists() or large or deed == "vanishes"
    assert (file in done.files) is file.exists()
    assert file not in done.brought
    machine.before = lambda _number: None
    assert bring().notes == ()
    if deed != "vanishes":
        assert (tmp_path / "home" / "output" / "file").read_text() == (there / "output" / "file").read_text()


def test_what_a_killed_fetch_left_is_gone_after_the_next(bring: Callable[..., Fetched], there: Path, tmp_path: Path) -> None:
    write(there / "output", "a")
    bring()
    write(tmp_path / "home" / ".hpcdeploy-parts", "small", "0" * 64)
    write(there / "output", "b")
    bring()
    assert names(tmp_path / "home") == {"output/a", "output/b", "logs/0.out", ".hpcdeploy-run"}


def test_a_folder_that_is_something_else_is_left_alone(bring: Callable[..., Fetched], there: Path, tmp_path: Path) -> None:
    write(tmp_path, "home/mine")
    with pytest.raises(ConfigError, match="exists, but does not belong to a fetch of"):
        bring()
    assert names(tmp_path / "home") == {"mine"}
    write(tmp_path, "file")
    with pytest.raises(ConfigError, match="exists, but is not a folder"):
        bring(to="file")
    (tmp_path / "empty").mkdir()
    assert bring(to="empty").files
    subprocess.run(["cp", "-a", str(there), str(there.parent / "hello-0000000000")], check=True)
    with pytest.raises(ConfigError, match="does not belong to a fetch of"):
        bring(run=replace(RUN, id="hello-0000000000"), to="empty")


@pytest.mark.parametrize("link", ["symbolic", "hard"])
@pytest.mark.parametrize("name", ["archive", "small", "large", "folder", "mark"])
def test_nothing_is_written_through_a_link_that_was_there_before_the_fetch(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, link: str
) -> None:
    """As in a folder that a project brings along, where it looks like a fetch's."""
    monkeypatch.setattr(download, "CHUNK", 1000)
    write(there / "output", "a", "b")
    write(there / "output", "large", content="y" * 1500)
    home, own = tmp_path / "home", tmp_path / "own"
    write(own, "file", content="" if name == "mark" else "mine")
    write(home, ".hpcdeploy-run", content=f"{RUN.id}\n")
    size, modified = (there / "output" / "large").stat().st_size, (there / "output" / "large").stat().st_mtime_ns
    large = hashlib.sha256(f"output/large\0{size}\0{modified}".encode()).hexdigest()
    parts = home / ".hpcdeploy-parts"
    if name == "folder":
        parts.symlink_to(own)
        (own / "file").rename(own / "archive")
    else:
        parts.mkdir()
        path = home / ".hpcdeploy-run" if name == "mark" else parts / (large if name == "large" else name)
        path.unlink(missing_ok=True)
        if link == "hard":
            path.hardlink_to(own / "file")
        else:
            path.symlink_to(own / "file")
    if name == "mark":
        with pytest.raises(ConfigError, match="does not belong to a fetch of"):
            bring()
    else:
        assert len(bring().brought) == 4
        assert (home / "output" / "large").read_text() == "y" * 1500
        assert not parts.exists()
    assert [file.read_text() for file in own.iterdir()] == ["" if name == "mark" else "mine"]
    assert [file.stat().st_mode & 0o100 for file in own.iterdir()] == [0]


def test_a_mark_that_says_nothing_counts_only_where_nothing_else_is(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a")
    write(tmp_path / "home", ".hpcdeploy-run", content="")
    assert bring().brought
    write(tmp_path / "other", ".hpcdeploy-run", content="")
    write(tmp_path / "other", ".hpcdeploy-parts/small", content="")
    with pytest.raises(ConfigError, match="does not belong to a fetch of"):
        bring(to="other")


def test_a_fetched_folder_of_which_a_backup_of_hard_links_was_made_is_fetched_to(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a")
    bring()
    subprocess.run(["cp", "-al", str(tmp_path / "home"), str(tmp_path / "backup")], check=True)
    write(there / "output", "b")
    assert bring().brought == (tmp_path / "home" / "output" / "b",)


def test_two_fetches_into_one_folder_do_not_meet(bring: Callable[..., Fetched], machine: Watched, there: Path) -> None:
    write(there / "output", "a")
    refused: list[str] = []

    def second(number: int) -> None:
        machine.before = lambda _number: None
        if number == 2:
            with pytest.raises(ConfigError, match=r"another fetch into .* is running") as error:
                bring()
            refused.append(str(error.value))

    machine.before = lambda number: second(number) if number == 2 else None
    bring()
    assert refused


def test_a_run_whose_folder_is_gone_is_told(bring: Callable[..., Fetched], there: Path, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match=r"there is no folder .*gone-0000000000"):
        bring(run=replace(RUN, id="gone-0000000000"))
    assert not (tmp_path / "home").exists()


def test_files_that_were_listed_and_never_came_are_not_said_to_be_here(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched
) -> None:
    write(there / "output", "same")
    bring()
    write(there / "output", "new")
    machine.listed = b"f 5 1.0000000000 644 ./never\0\0f 7 1.0000000000 644 ./nor this\0\0"
    done = bring()
    home = tmp_path / "home" / "output"
    assert done.brought == (home / "new",)
    assert done.missing == (home / "never", home / "nor this")
    assert done.files == (tmp_path / "home" / "logs" / "0.out", home / "new", home / "same")
    assert counted(done) == "1 of 5 files were downloaded; 2 already here; 2 not downloaded"
    assert [note.partition(":")[0] for note in done.notes] == [
        "output/never was not downloaded",
        "output/nor this was not downloaded",
    ]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ((3, 3, 0, 0), "3 of 3 files were downloaded"),
        ((3, 1, 0, 0), "1 of 3 files were downloaded; the others were already here"),
        ((3, 1, 2, 0), "1 of 3 files were downloaded; 2 changed during the download"),
        ((0, 0, 0, 4), "0 of 4 files were downloaded; 4 not downloaded"),
    ],
)
def test_every_file_of_a_run_is_counted_once(number: tuple[int, int, int, int], expected: str) -> None:
    files, brought, changed, missing = (tuple(Path(str(one)) for one in range(count)) for count in number)
    assert counted(Fetched(files=files, brought=brought, changed=changed, missing=missing)) == expected


def test_a_listing_cannot_name_what_fetch_itself_keeps(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched
) -> None:
    write(there / "output", "good")
    write(there, ".hpcdeploy-run", content="other-run\n")
    bring()
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    write(there / "output", "good", content="newer")
    for name in ("../.hpcdeploy-run", "../.hpcdeploy-parts/small", "../logs/0.out", "a/../../.hpcdeploy-run", ".", "./"):
        for entry in (f"f 5 1.0 644 {name}\0\0", f"l 5 1.0 777 {name}\0x\0"):
            machine.listed = entry.encode()
            with pytest.raises(SchedulerError, match="is outside its folder; nothing was downloaded"):
                bring()
    assert {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()} == before
    machine.listed = b""
    assert bring().brought == (tmp_path / "home" / "output" / "good",)


@pytest.mark.parametrize(
    "place", ["../outside", "/etc/passwd", "a/../../outside", "output/../.hpcdeploy-run", "output/../logs/0.out", "output/."]
)
def test_no_name_leads_out_of_the_folder(place: str, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="is outside its folder"):
        inside(tmp_path, place)


def test_a_listing_is_read_with_its_times_to_the_nanosecond() -> None:
    text = b"f 12 1795272256.6456187920 644 ./a b\0\0l 3 0.0000000000 777 ./l\0a b\0f 12 1795272256.6456187920 644 a b\0\0"
    (file, link), unread = read_listing("output", text)
    assert unread == []
    assert (file.place, file.size, file.modified, file.mode) == ("output/a b", 12, 1795272256645618792, 0o644)
    assert (link.kind, link.link, leads_out(link)) == ("l", "a b", False)


def test_files_are_grouped_up_to_a_size_and_never_of_two_parts() -> None:
    def file(part: str, size: int) -> RemoteFile:
        return RemoteFile(part=part, name=f"{part}{size}", kind="f", size=size, modified=0, mode=0o644)

    files = [file("output", 4), file("output", 6), file("output", 1), file("logs", 1), file("logs", 50), file("logs", 2)]
    assert [[one.size for one in group] for group in groups(files, at_most=10)] == [[4, 6], [1], [1], [50], [2]]


@pytest.mark.parametrize("size", [3000, 300_000])
def test_a_disk_that_is_full_here_is_named_and_the_next_fetch_goes_on(
    size: int, bring: Callable[..., Fetched], there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 100_000)
    write(there / "output", "small", "file", content="x" * size)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            bring()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert error.value.filename == str(tmp_path / "home")
    assert not (tmp_path / "home" / "output" / "file").exists()
    bring()
    assert (tmp_path / "home" / "output" / "file").read_text() == "x" * size


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_folder_on_a_full_disk_is_named_and_no_file_is_there_in_part(
    size: int, bring: Callable[..., Fetched], there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 1_000_000)
    write(there / "output", "a", "file", content="x" * size)
    home = tmp_path / "home"
    with small_disk(home, "200k") as resize:
        with pytest.raises(OSError, match="No space left") as error:
            bring()
        assert error.value.filename == str(home)
        assert not (home / "output" / "file").exists()
        resize("16m")
        assert home / "output" / "file" in bring().brought
        assert (home / "output" / "file").read_text() == "x" * size


def test_a_large_file_that_is_written_anew_between_two_pieces_is_never_a_mixture_of_both(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path, machine: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 1000)
    write(there / "output", "checkpoint", content="1" * 5000)
    bring()
    write(there / "output", "checkpoint", content="2" * 5000)
    asked = len(machine.commands)
    machine.before = lambda number: (
        write(there / "output", "checkpoint", content="3" * 5000) if number == asked + 4 else None
    )
    done = bring()
    assert done.notes == (
        (
            "output/checkpoint was not downloaded: it changed, was removed or cannot be read; "
            "fetch again when it no longer changes"
        ),
    )
    assert done.missing == (tmp_path / "home" / "output" / "checkpoint",)
    assert (tmp_path / "home" / "output" / "checkpoint").read_text() == "1" * 5000
    machine.before = lambda _number: None
    assert bring().notes == ()
    assert (tmp_path / "home" / "output" / "checkpoint").read_text() == "3" * 5000


def test_a_link_that_leads_out_through_other_links_does_not_stay(
    bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    deep = "a/b/c/d/e/f/g/h/i/j/k/l"
    write(there / "output", f"{deep}/file")
    (there / "output" / deep / "up").symlink_to("../" * 12)
    ups = "../" * (len(Path(deep, "up").parts))
    (there / "output" / "good").symlink_to(f"{deep}/up/{deep}/file")
    (there / "output" / "evil").symlink_to(f"{deep}/up/{ups}etc/passwd")
    (there / "output" / "loop").symlink_to("loop")
    for _ in range(2):
        done = bring()
        assert done.notes == ("left out: output/evil, a link to outside the run's folder",)
        assert tmp_path / "home" / "output" / "evil" not in (*done.files, *done.brought)
        assert names(tmp_path / "home" / "output") == {f"{deep}/file", f"{deep}/up", "good", "loop"}


def test_a_pattern_that_means_nothing_is_told(bring: Callable[..., Fetched], there: Path) -> None:
    write(there / "output", "model.pt")
    assert bring("modle.pt", "output/*").notes == (
        f"no file of {RUN.id} matches modle.pt or output/*; patterns are relative to its working folder",
    )
    assert bring("modle.pt", "model.pt").notes == ()


def test_a_link_whose_target_no_pattern_means_is_told(bring: Callable[..., Fetched], there: Path) -> None:
    write(there / "output", "step-5/model.pt")
    (there / "output" / "latest").symlink_to("step-5")
    assert bring("latest").notes == (
        "output/latest is a link to step-5, which was not fetched; add a pattern for that file",
    )
    assert bring("latest", "step-*").notes == ()


@pytest.mark.parametrize("unit", [100, 1000, 10**9, 2 * 10**9])
def test_a_file_system_that_counts_time_in_coarser_steps_has_the_file_all_the_same(
    unit: int, bring: Callable[..., Fetched], there: Path, tmp_path: Path
) -> None:
    write(there / "output", "a")
    os.utime(there / "output" / "a", ns=(0, 1_795_272_257_645_618_792))
    bring()
    home = tmp_path / "home" / "output" / "a"
    os.utime(home, ns=(0, 1_795_272_257_645_618_792 // unit * unit))
    assert bring().brought == ()
    os.utime(home, ns=(0, 1_795_272_257_645_618_791))
    assert bring().brought == (home,)
