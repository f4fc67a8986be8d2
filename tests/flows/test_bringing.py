"""What a job brings along: its places, its limit, and what is said of it."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.job_files import JobUploads, collect_uploads
from hpcdeploy.job import Code, Input, Job
from tests.flows.test_snapshot import git, write

CLUSTER = Cluster(name="hpc", schedulers=("slurm", "htcondor"))
JOB = Job(name="train", image="train", code=Code())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "project", "a.py", "src/b.py", "data/big.csv")
    return tmp_path / "project"


def bring(job: Job, project: Path, scheduler: SchedulerName = "slurm", *, meant: bool = False) -> JobUploads:
    return collect_uploads(job, project, scheduler, CLUSTER, archives=project.parent / "archives", allow=lambda _: meant)


def test_code_is_an_archive_that_becomes_a_folder_mounted_at_code(project: Path) -> None:
    [placement] = bring(JOB, project).placements
    staged = placement.upload
    assert (placement.place, placement.is_folder, placement.is_code) == ("/code", True, True)
    assert (staged.path, staged.becomes) == (f"code/{staged.sha256}.tar", f"code/{staged.sha256}")
    content = Path(staged.source).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (staged.sha256, staged.size)


def test_where_htcondor_starts_the_container_code_is_sent_into_the_working_folder(project: Path) -> None:
    [placement] = bring(JOB, project, "htcondor").placements
    assert (placement.place, placement.upload.becomes) == ("code", "")
    assert placement.upload.path == f"code/{placement.upload.sha256}.archive"


@pytest.mark.parametrize(
    ("scheduler", "code", "command", "said"),
    [
        ("htcondor", Code(), ("python", "/code/train.py"), True),
        ("htcondor", Code(), ("ls", "/code"), True),
        ("htcondor", Code(), ("python", "code/train.py"), False),
        ("htcondor", Code(), ("ls", "/codes"), False),
        ("htcondor", Code(destination="code"), ("python", "/code/train.py"), False),
        ("slurm", Code(), ("python", "/code/train.py"), False),
    ],
)
def test_a_command_that_looks_for_the_code_where_only_other_clusters_have_it_is_pointed_out(
    scheduler: SchedulerName, code: Code, command: tuple[str, ...], said: bool, project: Path
) -> None:
    notes = bring(replace(JOB, code=code, command=command), project, scheduler).notes
    assert any("so the code is at code in the working folder" in note for note in notes) == said


def test_what_is_only_looked_at_is_packed_nowhere_and_has_the_same_sha256(project: Path) -> None:
    looked = collect_uploads(JOB, project, "slurm", CLUSTER, archives=None, allow=lambda _: False)
    assert not (project.parent / "archives").exists()
    assert looked.code_sha256 == bring(JOB, project).code_sha256


def test_the_size_and_the_commit_are_told_and_recorded(project: Path) -> None:
    assert bring(JOB, project).notes == ("the code: 3 B in 3 files",)
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "x")
    commit = git(project, "rev-parse", "HEAD").strip()
    clean = bring(JOB, project)
    assert (clean.commit, clean.dirty, clean.notes) == (commit, False, (f"the code: 3 B in 3 files, commit {commit[:10]}",))
    write(project, "new.py")
    changed = bring(JOB, project)
    assert changed.notes == (f"the code: 4 B in 4 files, commit {commit[:10]} and changes since",)
    assert changed.dirty
    assert changed.code_sha256 != clean.code_sha256


def test_of_another_users_repository_the_commit_is_unknown_which_is_told_and_recorded(project: Path) -> None:
    git(project, "init", "-q")
    for path in (project, *project.rglob("*")):
        os.chown(path, 12345, 12345)
    done = bring(JOB, project)
    assert (done.commit, done.dirty) == ("", None)
    assert done.notes[0] == "the code: 3 B in 3 files"
    assert "the commit of the code is unknown" in done.notes[1]


def test_surprisingly_much_code_is_sent_only_where_that_is_meant(project: Path) -> None:
    (project / "data" / "big.csv").write_bytes(b"x" * (2 * 1024**2))
    small = replace(JOB, code=Code(limit=1))
    with pytest.raises(ConfigError) as refused:
        bring(small, project)
    said = str(refused.value)
    assert "is 2.10 MB in 3 files, over the limit of 1 MB; largest parts: data/ (2.10 MB)" in said
    assert 'code = { source = ".", limit = "3 MB" }' in said
    assert not (project.parent / "archives").exists()
    assert bring(small, project, meant=True).placements
    assert bring(replace(JOB, code=Code(limit=3)), project).placements


def test_inputs_are_files_as_they_are_and_folders_as_archives(project: Path) -> None:
    inputs = (Input(source="a.py", destination="/in/a"), Input(source="data/", destination="data"))
    file, folder = bring(Job(name="j", image="i", inputs=inputs), project).placements
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert (file.place, file.upload.path, file.upload.source) == ("/in/a", f"inputs/{sha256}", str(project / "a.py"))
    assert (folder.place, folder.upload.becomes) == ("data", f"inputs/{folder.upload.sha256}")


def test_two_inputs_of_the_same_content_are_one_file_to_bring(project: Path) -> None:
    inputs = (Input(source="a.py", destination="one"), Input(source="src/b.py", destination="two"))
    assert len(bring(Job(name="j", image="i", inputs=inputs), project).uploads) == 1


def test_an_input_may_lie_anywhere_on_this_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    inputs = (Input(source="~/a.py", destination="a"), Input(source="../project/src/b.py", destination="b"))
    placements = bring(Job(name="j", image="i", inputs=inputs), project).placements
    assert [one.upload.source for one in placements] == [str(project / "a.py"), str(project / "src" / "b.py")]


@pytest.mark.parametrize(
    ("source", "why"),
    [("missing", "cannot be read: No such file"), ("pipe", "is not a file or folder"), ("empty", "has no file to upload")],
)
def test_an_input_that_is_not_there_or_nothing_is_refused(source: str, why: str, project: Path) -> None:
    os.mkfifo(project / "pipe")
    (project / "empty").mkdir()
    with pytest.raises(ConfigError, match=why):
        bring(Job(name="j", image="i", inputs=(Input(source=source, destination="x"),)), project)


@pytest.mark.parametrize("place", ["/code", "/code/data", "/other", "/other/x"])
def test_two_things_at_one_place_are_refused(place: str, project: Path) -> None:
    inputs = (Input(source="a.py", destination=place), Input(source="a.py", destination="/other"))
    with pytest.raises(ConfigError, match=r"uses the destination \S+ twice"):
        bring(replace(JOB, inputs=inputs), project)


def test_an_absolute_place_is_refused_where_nothing_can_be_mounted(project: Path) -> None:
    inputs = (Input(source="a.py", destination="/in/a.py"),)
    with pytest.raises(ConfigError, match=r'use a path relative to the working folder, such as "a.py"'):
        bring(replace(JOB, inputs=inputs), project, "htcondor")
    shared = replace(CLUSTER, htcondor_container="apptainer")
    done = collect_uploads(replace(JOB, inputs=inputs), project, "htcondor", shared, archives=None, allow=lambda _: False)
    assert [one.place for one in done.placements] == ["/code", "/in/a.py"]


def test_links_without_an_uploaded_target_are_reported(project: Path) -> None:
    for number in range(5):
        (project / f"link{number}").symlink_to(f"/data/{number}")
    size, note = bring(JOB, project).notes
    assert size.startswith("the code: ")
    assert note == (
        "note: targets of links are not uploaded: link0 -> /data/0, link1 -> /data/1, link2 -> /data/2 and 2 more; "
        "the cluster may have other files at these paths"
    )


def test_a_submodule_that_is_not_checked_out_is_reported(project: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    write(library, "lib.py")
    for folder in (library, project):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "x")
    for name in ("vendor/a", "vendor/b"):
        git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), name)
    assert len(bring(JOB, project).notes) == 1
    git(project, "submodule", "--quiet", "deinit", "--force", "vendor/b")
    _, note = bring(JOB, project).notes
    assert note == "note: the submodule vendor/b is not checked out and not uploaded; run 'git submodule update --init'"
