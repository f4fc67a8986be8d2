"""How scripts bring what a job takes along to its place: by mounting it, or by having HTCondor send it."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Code, Input, Job
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.scheduler.htcondor.submit_description import Command, with_inputs, with_outputs
from hpcdeploy.staged_files import Placement, StagedFile, can_mount, staged_path
from tests.scheduler.golden_files import check_golden
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, SHA256, SITE, run_of
from tests.shellcheck import findings

BRINGS = replace(
    PLAIN,
    code=Code(),
    inputs=(Input(source="d", destination="d"),),
    outputs=("model.pt", "it's/plot *.png"),
    command=("python", "/code/train.py"),
)
SHARED = replace(SITE, htcondor_container="apptainer")
MOUNTED = (
    Placement(
        upload=StagedFile(
            sha256=SHA256, size=20480, path=f"code/{SHA256}.tar", becomes=f"code/{SHA256}", what="c", source="/c"
        ),
        place="/code",
        is_folder=True,
        is_code=True,
    ),
    Placement(
        upload=StagedFile(sha256="ef" * 32, size=7, path=f"inputs/{'ef' * 32}", what="it's $5", source="/d"),
        place='data/it\'s $5, -"x"',
        is_folder=False,
    ),
)
CARRIED = (
    Placement(
        upload=StagedFile(sha256=SHA256, size=20480, path=f"code/{SHA256}.archive", what="c", source="/c"),
        place="my code",
        is_folder=True,
        is_code=True,
    ),
    MOUNTED[1],
)


def scripts() -> dict[str, str]:
    carries = run_of(BRINGS, "htcondor")
    return {
        "slurm-code": submission(run_of(BRINGS), BRINGS, SITE, CACHED, placements=MOUNTED),
        "htcondor-code": submission(carries, BRINGS, CLUSTER, CACHED, placements=CARRIED),
        "htcondor-apptainer-code": submission(carries, BRINGS, SHARED, CACHED, placements=MOUNTED),
    }


@pytest.mark.parametrize("name", scripts())
def test_a_script_is_what_it_was(name: str) -> None:
    check_golden(name, scripts()[name])


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    # SC2016: a person's own words may look like a forgotten expansion; that they stay as they are is the point.
    assert findings(scripts()[name], "--exclude=SC2016") == ""


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say_of_the_parts_of_a_job(name: str) -> None:
    parts = scripts()[name].split("<<'HPCDEPLOY_END")[1:]
    bodies = [part[part.index("\n") + 1 : part.index("\nHPCDEPLOY_END")] for part in parts]
    programs = [body for body in bodies if body.startswith("#!")]
    assert len(programs) >= 1 + (name != "htcondor-code")
    for body in programs:
        assert findings(body, "--exclude=SC2016") == ""


def test_an_archive_that_is_unpacked_is_another_file_than_one_that_htcondor_sends() -> None:
    paths = {
        staged_path(SHA256, is_folder=is_folder, is_code=is_code, mounts=mounts)
        for is_folder in (True, False)
        for is_code in (True, False)
        for mounts in (True, False)
    }
    assert {path for path in paths if path.startswith("code/")} == {
        f"code/{SHA256}{end}" for end in (".tar", ".archive", "")
    }


def test_only_where_we_start_the_container_can_anything_be_mounted() -> None:
    assert can_mount("slurm", CLUSTER)
    assert not can_mount("htcondor", CLUSTER)
    assert can_mount("htcondor", SHARED)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("rank", "1")], "$(run_folder)/inputs/"),
        ([("Transfer_Input_Files", "osdf:///a, b")], "osdf:///a, b, $(run_folder)/inputs/"),
    ],
)
def test_htcondor_sends_what_is_brought_beside_what_it_was_told_to_send(said: list[Command], expected: str) -> None:
    assert with_inputs(said, BRINGS, CLUSTER)[-1] == ("transfer_input_files", expected)
    assert with_inputs(said, PLAIN, CLUSTER) == said
    assert with_inputs(said, BRINGS, SHARED) == said


def test_htcondor_takes_home_what_is_gathered_where_outputs_are_said() -> None:
    assert with_outputs([("rank", "1")], BRINGS, CLUSTER) == [
        ("rank", "1"),
        ("transfer_output_files", ".hpcdeploy-outputs/"),
    ]
    assert with_outputs([("rank", "1")], PLAIN, CLUSTER) == [("rank", "1")]
    assert with_outputs([("rank", "1")], BRINGS, SHARED) == [("rank", "1")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a cluster's root on this machine, with an image that is empty, and with the file of input."""
    folder = tmp_path / "root"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / f"{SHA256}.sif").touch()
    (folder / "inputs").mkdir()
    (folder / "inputs" / ("ef" * 32)).write_text("x")
    (folder / "code").mkdir()
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    return folder


LEFT = {SHA256, f".{SHA256}.lock", f".{SHA256}.count"}
"""What is in the folder of code when one tree is there."""


def environment_of(root: Path) -> dict[str, str]:
    """Give the variables of a machine with an sbatch that no Slurm stands behind."""
    return {"PATH": f"{root.parent}:{os.environ['PATH']}", "HOME": str(root.parent)}


def size_in(root: Path, staged: StagedFile) -> int:
    path = root / staged.path
    return path.stat().st_size if path.exists() else staged.size


def start(root: Path, run_id: str = "") -> "subprocess.Popen[bytes]":
    """Start the script that submits; without a scheduler it ends there."""
    sized = [replace(one, upload=replace(one.upload, size=size_in(root, one.upload))) for one in MOUNTED]
    text = submission(run_of(BRINGS, run_id=run_id), BRINGS, replace(CLUSTER, root=str(root)), CACHED, placements=sized)
    pipe, environment = subprocess.PIPE, environment_of(root)
    script = subprocess.Popen(["bash", "-s"], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True)
    assert script.stdin
    script.stdin.write(text.encode())
    script.stdin.close()
    script.stdin = None
    return script


def archive(root: Path, files: int) -> None:
    source = root.parent / "src"
    for number in range(files):
        (source / f"sub {number % 7}").mkdir(parents=True, exist_ok=True)
        (source / f"sub {number % 7}" / f"a b {number}").write_text(str(number))
    packed = root / "code" / f"{SHA256}.tar"
    subprocess.run(["tar", "-C", str(source), "-cf", str(packed), "."], check=True)


def unpacked(root: Path) -> int:
    return sum(path.is_file() for path in (root / "code" / SHA256).rglob("*"))


def test_a_tree_is_asked_for_unpacked_once_and_not_asked_for_again(root: Path) -> None:
    said, _ = (asked := start(root)).communicate()
    assert asked.returncode == 14
    assert f'"path": "{root}/code/{SHA256}.tar"' in said.decode()
    (root / "code" / f"{SHA256}.tar").write_bytes(b"this is no archive")
    _, words = (broken := start(root)).communicate()
    assert broken.returncode == 10
    assert "could not be unpacked" in words.decode()
    archive(root, 10)
    start(root).communicate()
    assert unpacked(root) == 10
    assert {path.name for path in (root / "code").iterdir()} == LEFT
    (root / "code" / f"{SHA256}.tar").touch()
    (again := start(root, "hello-0000000009")).communicate()
    assert again.returncode not in {10, 14}
    assert not (root / "code" / f"{SHA256}.tar").exists()


def test_what_a_person_is_still_copying_there_is_asked_for(root: Path) -> None:
    archive(root, 100)
    whole = (root / "code" / f"{SHA256}.tar").read_bytes()
    (root / "code" / f"{SHA256}.tar").write_bytes(whole[:10240])
    brings = replace(MOUNTED[0], upload=replace(MOUNTED[0].upload, size=len(whole)))
    text = submission(run_of(BRINGS), BRINGS, replace(CLUSTER, root=str(root)), CACHED, placements=(brings,))
    asked = subprocess.run(["bash", "-s"], input=text.encode(), capture_output=True, env=environment_of(root), check=False)
    assert asked.returncode == 14
    assert f'"path": "{root}/code/{SHA256}.tar"' in asked.stdout.decode()
    assert not (root / "code" / SHA256).exists()


def test_a_tree_of_which_a_site_has_removed_files_is_asked_for_and_filled_under_those_who_read_it(root: Path) -> None:
    archive(root, 20)
    start(root).communicate()
    tree = root / "code" / SHA256
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    assert all(path.stat().st_mtime > time.time() - 3600 for path in files)
    (kept := files.pop()).write_text("read by a job")
    for path in files[:5]:
        path.unlink()
    asked = start(root, "hello-0000000009")
    asked.communicate()
    assert asked.returncode == 14
    archive(root, 20)
    start(root, "hello-0000000009").communicate()
    assert unpacked(root) == 20
    assert kept.read_text() == "read by a job"
    assert {path.name for path in (root / "code").iterdir()} == LEFT


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_is_there_whole_or_not_at_all_whenever_its_unpacking_is_killed(seed: int, root: Path) -> None:
    chance = random.Random(seed)
    archive(root, 3000)
    for _ in range(6):
        script = start(root)
        time.sleep(chance.uniform(0, 0.3))
        with suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)
        script.communicate()
        assert not (root / "code" / SHA256).exists() or unpacked(root) == 3000
    start(root).communicate()
    assert unpacked(root) == 3000
    assert {path.name for path in (root / "code").iterdir()} == LEFT


def test_several_runs_at_once_unpack_a_tree_once(root: Path) -> None:
    archive(root, 500)
    scripts = [start(root, f"hello-000000000{number}") for number in range(4)]
    ended = [(script.communicate()[1].decode(), script.returncode) for script in scripts]
    assert all(code not in {10, 14} for _, code in ended), ended
    assert unpacked(root) == 500
    assert {path.name for path in (root / "code").iterdir()} == LEFT


def test_a_tree_that_another_run_unpacks_at_this_very_moment_needs_no_archive(root: Path) -> None:
    archive(root, 20)
    start(root, "hello-0000000001").communicate()
    tree, aside, stat = root / "code" / SHA256, root.parent / "aside", shutil.which("stat")
    tree.rename(aside)
    archive(root, 20)
    other = f'[ ! -d "{aside}" ] || {{ mv -T "{aside}" "{tree}"; rm "{tree}.tar"; }}'
    (root.parent / "stat").write_text(f'#!/bin/sh\ncase "$*" in *.tar) {other} ;; esac\nexec {stat} "$@"\n')
    (root.parent / "stat").chmod(0o755)
    script = start(root, "hello-0000000002")
    said = script.communicate()[1]
    assert not aside.exists()
    assert script.returncode not in {10, 14}, said


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_program_whose_outputs_are_gathered_gets_its_signals_and_keeps_its_exit_code(shell: str, tmp_path: Path) -> None:
    told = 'trap "echo told >model.pt; exit 7" USR1; echo ready; while :; do sleep 0.1; done'
    job = replace(BRINGS, command=("sh", "-c", told))
    text = submission(run_of(job, "htcondor"), job, CLUSTER, CACHED, placements=CARRIED)
    begin = text.index("\n", text.index("<<'HPCDEPLOY_END")) + 1
    (tmp_path / "program.sh").write_text(text[begin : text.index("\nHPCDEPLOY_END", begin) + 1])
    started = subprocess.Popen([shell, "program.sh", "0", "1"], cwd=tmp_path, stdout=subprocess.PIPE)
    with started:
        assert started.stdout
        assert started.stdout.readline() == b"ready\n"
        started.send_signal(signal.SIGUSR1)
        assert started.wait() == 7
    assert (tmp_path / ".hpcdeploy-outputs" / "model.pt").read_text() == "told\n"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_an_image_that_a_program_makes_is_an_output_and_its_own_is_none(shell: str, tmp_path: Path) -> None:
    job = replace(BRINGS, command=("sh", "-c", "mkdir deep && touch new.sif deep/new.sif"), outputs=("*",))
    text = submission(run_of(job, "htcondor"), job, CLUSTER, CACHED, placements=CARRIED)
    begin = text.index("\n", text.index("<<'HPCDEPLOY_END")) + 1
    (tmp_path / "program.sh").write_text(text[begin : text.index("\nHPCDEPLOY_END", begin) + 1])
    (tmp_path / f"{SHA256}.sif").touch()
    assert subprocess.run([shell, "program.sh", "0", "1"], cwd=tmp_path, check=False).returncode == 0
    home = tmp_path / ".hpcdeploy-outputs"
    assert {str(path.relative_to(home)) for path in home.rglob("*.*")} == {"new.sif", "deep/new.sif"}


@pytest.fixture
def closable() -> Iterator[Path]:
    """Return a folder of another user, because root can access every file."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.getuid() == 0:
            os.chown(folder, 65534, 65534)
        yield folder
        subprocess.run(["chmod", "-R", "u+rwX", name], check=True)


def run_program(job: Job, shell: str, folder: Path, cluster: Cluster = CLUSTER) -> str:
    """Run a job's ``program.sh`` as the owner of `folder`; what it told on its error stream."""
    text = submission(run_of(job, "htcondor"), job, cluster, CACHED)
    begin = text.index("\n", text.index("<<'HPCDEPLOY_END")) + 1
    (folder / "program.sh").write_text(text[begin : text.index("\nHPCDEPLOY_END", begin) + 1])
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    done = subprocess.run([*words, shell, "program.sh", "0", "1"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


CLOSED = "mkdir deep closed; for one in a closed/b deep/c .d; do echo 1 >$one; done; chmod 0 closed deep/c .d; echo 1 >open"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_outputs_that_may_not_be_read_are_left_out_and_named(shell: str, closable: Path) -> None:
    command = ("sh", "-c", f"{CLOSED}; mkfifo deep/pipe; ln -s nowhere broken")
    errors = run_program(Job(name="j", image="i", command=command, outputs=("*", ".d")), shell, closable)
    home = closable / ".hpcdeploy-outputs"
    assert {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} == {"a", "open"}
    why = {"closed": "may not be read", "deep/c": "may not be read", "deep/pipe": "is no file, folder or link"}
    assert errors.splitlines() == [
        f"./{one} {reason}: it is left out of the outputs" for one, reason in [*why.items(), (".d", "may not be read")]
    ]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_where_htcondor_takes_every_file_home_those_that_it_cannot_read_stay_behind(shell: str, closable: Path) -> None:
    command = ("sh", "-c", f"{CLOSED}; mkfifo pipe; ln -s .d link; ln -s nowhere broken")
    errors = run_program(Job(name="j", image="i", command=command), shell, closable)
    assert {path.name for path in closable.iterdir() if not path.is_dir()} == {
        "a",
        "open",
        "broken",
        "program.sh",
        ".hpcdeploy-begun",
    }
    assert sorted(errors.splitlines()) == [
        "./.d may not be read: it is left out of the outputs",
        "./link may not be read: it is left out of the outputs",
        "./pipe is a named pipe: it is left out of the outputs",
    ]


@pytest.mark.parametrize(
    ("job", "cluster"),
    [
        (Job(name="j", image="i", command=("sh", "-c", CLOSED), htcondor=(("Transfer_Output_Files", "a, .d"),)), CLUSTER),
        (Job(name="j", image="i", command=("sh", "-c", CLOSED)), replace(CLUSTER, htcondor_container="apptainer")),
    ],
    ids=["own list", "shared folder"],
)
def test_files_stay_where_they_are_if_a_person_names_them_or_nothing_is_sent(
    job: Job, cluster: Cluster, closable: Path
) -> None:
    assert run_program(job, "sh", closable, cluster) == ""
    assert (closable / ".d").exists()
