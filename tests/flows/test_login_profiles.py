"""What a login profile and setup lines may do, and what each script does all the same. The cluster is this machine."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError, HpcdeployError, MissingProgramError, SchedulerError
from hpcdeploy.flows import logs
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.flows.submit import submit
from hpcdeploy.image import Definition
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.query import query_scheduler
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.remote.upload import upload
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import BROUGHT, PLAIN, run_of

RUN = run_of(PLAIN, job_id="12")
PROFILES = {
    "text without a line break": "printf 'Welcome'",
    "a terminal's title": r"printf '\033]0;hpc\007'",
    "a mark of its own": "printf 'HPCDEPLOY {users meet on Friday}'",
    "noclobber": "set -o noclobber",
    "strict": "set -euo pipefail",
    "posix": "set -o posix",
    "noglob": "set -f",
    "xtrace": "set -x",
    "cd": 'cd() { builtin cd "$@" && ls; }',
    "a cd that asks": "cd() { return 1; }",
    "rm and mkdir": "rm() { return 1; }; mkdir() { return 1; }; find() { return 1; }; export -f find rm",
    "builtins": "printf() { return 1; }; read() { return 1; }; test() { return 1; }; [() { return 1; }",
    "what could undo that": "unset() { :; }; builtin() { :; }; set() { :; }; unalias() { :; }; shopt() { :; }",
    "aliases": "shopt -s expand_aliases; alias rm='rm -i' main='echo main' cat='cat -n' printf='echo' cd='cd /'",
    "IFS": "IFS=/",
    "IFS of letters": "IFS=0123456789out",
    "patterns": "shopt -s nullglob failglob dotglob nocasematch extglob",
    "CDPATH": "export CDPATH=/tmp:/usr",
    "a trap": "trap 'echo bye' EXIT DEBUG ERR RETURN; set -ET",
    "a time limit for input": "TMOUT=1; readonly TMOUT",
    "another folder": "cd /proc/self",
    "functions of ours": "known_state() { return 1; }; main() { return 1; }; say() { exit 1; }; export -f main say",
    "what programs read": "export TAR_OPTIONS=--exclude=* GREP_OPTIONS=-v POSIXLY_CORRECT=1",
    "another bash": '[ -n "${AGAIN-}" ] || AGAIN=yes exec bash -l',
}
ENDS = {
    "exit": "exit 0",
    "exit with a status": "exit 3",
    "exit without a terminal": "[[ $- == *i* ]] || exit 15",
    "another program": "exec true",
    "another shell": "exec sh",
    "who reads everything": "cat >/dev/null",
}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give what writes the profile of the person who logs in."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    # /etc/profile sets PATH anew.
    path = f"PATH={tmp_path / 'programs'}:$PATH"

    def write(text: str) -> None:
        (home / ".bash_profile").write_text(f"{path}\n{text}\n")

    return write


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Give this machine as a cluster with a run that has ended, and scheduler commands that answer nothing."""
    folder = tmp_path / "root" / "runs" / RUN.id
    for name, text in {
        "logs/0.out": "out\n",
        "logs/0.err": "err\n",
        "tasks/0.start": "1 12 node\n",
        "tasks/0.end": "2 0\n",
        "output/a/b c": "made",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("squeue", "sacct", "scancel", "sbatch"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    return Cluster(name="hpc", host="local", root=str(tmp_path / "root"), schedulers=("slurm",), apptainer="no-apptainer")


@pytest.fixture
def connections() -> Connections:
    return Connections(lambda _cluster: LocalTransport())


def known() -> RunStatus:
    return RunStatus(run=RUN, tasks=(), asked=0)


def reads_logs(cluster: Cluster, connections: Connections, _folder: Path) -> None:
    piece = logs.read(known(), 0, connections.to(cluster))
    assert (piece.out, piece.err) == (b"out\n", b"err\n")


def fetches(cluster: Cluster, connections: Connections, folder: Path) -> None:
    done = fetch(RUN, folder / "fetched", connections.to(cluster))
    assert [path.name for path in done.files] == ["0.err", "0.out", "b c"]
    assert (folder / "fetched/output/a/b c").read_text() == "made"


def asks_for_states(cluster: Cluster, connections: Connections, _folder: Path) -> None:
    [status] = query_scheduler(connections.to(cluster), "slurm", [known()])
    assert [(task.state, task.exit_code) for task in status.tasks] == [(State.COMPLETED, 0)]


def cancels(cluster: Cluster, connections: Connections, folder: Path) -> None:
    in_queue = cancel([known()], lambda _name: connections.to(cluster), Store(folder / "runs.db"))
    assert in_queue == []  # the queue of these programs is empty
    assert (folder / "root" / "runs" / RUN.id / "cancelled").exists()


def delivers(cluster: Cluster, connections: Connections, folder: Path) -> None:
    content = bytes(range(256)) * 1000
    (folder / "source").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    staged = StagedFile(
        sha256=sha256, size=len(content), path="code/a b.tar", what="the code", source=str(folder / "source")
    )
    upload([{"sha256": sha256, "path": staged.path, "have": 0}], [staged], connections.to(cluster))
    assert (folder / "root" / staged.path).read_bytes() == content


def submits(cluster: Cluster, connections: Connections, folder: Path) -> None:
    run = replace(RUN, id="new-0011223344", job_id="")
    script = submission(run, PLAIN, cluster, BROUGHT)
    with pytest.raises(SchedulerError, match=r"requested .*, which is not part of this submission|profile|setup") as caught:
        submit(run, script, connections.to(cluster), Store(folder / "runs.db"))
    if "not part of this submission" not in str(caught.value):
        raise caught.value
    assert f"{folder}/root/images/{BROUGHT.sha256}.sif" in str(caught.value)


def builds(cluster: Cluster, connections: Connections, _folder: Path) -> None:
    definition = Definition(name="x", text="Bootstrap: docker\nFrom: debian\n", files=(), build_args=(), inputs="ab" * 32)
    with pytest.raises(MissingProgramError, match="no-apptainer is not on this machine's PATH"):
        build_on(definition, connections.to(cluster))


DOES = (reads_logs, fetches, asks_for_states, cancels, delivers, submits, builds)
VERBS = pytest.mark.parametrize("does", DOES)


@VERBS
@pytest.mark.parametrize("name", PROFILES)
def test_a_script_does_its_work_whatever_the_profile_left(
    does: Callable[[Cluster, Connections, Path], None],
    name: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile(PROFILES[name])
    does(cluster, connections, tmp_path)


def test_programs_that_a_script_starts_do_not_get_its_options(
    profile: Callable[[str], None], cluster: Cluster, connections: Connections, tmp_path: Path
) -> None:
    profile("set -C; export SHELLOPTS BASHOPTS")
    (tmp_path / "programs/squeue").write_text(f'#!/bin/bash\nprintf "%s" "$-" >>{tmp_path}/options\n')
    asks_for_states(cluster, connections, tmp_path)
    assert set((tmp_path / "options").read_text()) == set("hB")


@VERBS
def test_a_script_does_its_work_after_all_of_these_together(
    does: Callable[[Cluster, Connections, Path], None],
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    # These end the profile, or change what follows in it.
    ending = ("another bash", "posix", "strict", "builtins", "what could undo that", "what programs read")
    profile("\n".join(text for name, text in PROFILES.items() if name not in ending))
    does(cluster, connections, tmp_path)


@contextmanager
def refused(does: Callable[[Cluster, Connections, Path], None], message: str, cluster: Cluster) -> Iterator[None]:
    """Check that the block is refused with the error of its verb, and leaves the root of `cluster` as it is."""
    before = sorted(Path(cluster.root).rglob("*"))
    with pytest.raises(HpcdeployError, match=message) as caught:
        yield
    assert type(caught.value) is (BuildError if does is builds else SchedulerError)
    assert sorted(Path(cluster.root).rglob("*")) == before


@pytest.mark.parametrize(
    ("does", "name"),
    # What receives a file is called once the submission has begun: with such a profile it would wait, as any shell does.
    [(does, name) for does in DOES for name in ENDS if (does, name) != (delivers, "who reads everything")],
)
def test_a_profile_that_ends_the_shell_is_named_and_nothing_is_done(
    does: Callable[[Cluster, Connections, Path], None],
    name: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile(ENDS[name])
    with refused(does, "profile", cluster):
        does(cluster, connections, tmp_path)


SITE_SCRIPT = """\
[ "$NOT_SET" = x ] && echo x
false
yes | head -n 1 >/dev/null
export SITE=$SITE$NOT_SET.site
[ -n "$NOT_SET" ]
"""
SETUPS = {
    "a variable that is not set": "export LD_LIBRARY_PATH=/opt/x:$LD_LIBRARY_PATH",
    "a site script": f"cat >/tmp/site.$$ <<'END'\n{SITE_SCRIPT}END\n. /tmp/site.$$; rm /tmp/site.$$",
    "a test that is false": "[ -f /nowhere ] && . /nowhere",
    "a pipe that breaks": "yes | head -n 1 >/dev/null",
    "strict": "set -euo pipefail",
    "noclobber and the like": "set -Cf; shopt -s failglob nullglob extglob; IFS=/",
    "cd and rm": "cd() { return 1; }; rm() { return 1; }; export -f cd rm",
    "another folder": "cd /",
    "traps": "trap 'echo bye' EXIT ERR DEBUG RETURN; set -ET",
    "who reads": "read -r line || true",
    "text without a line break": "printf Welcome",
    "a function with a body of lines": "module() {\n  false\n  export SITE=$1\n}\nmodule load",
}
FAILING = {
    "false": r"a line of the cluster's setup failed \(exit status 1\): false",
    "module load nothing": r"a line of the cluster's setup failed \(exit status 127\): module load nothing",
    "X=$(exit 3)": r"a line of the cluster's setup failed \(exit status 3\): X=",
    "cd /nowhere": "a line of the cluster's setup failed .*: cd /nowhere",
    "if then": "bash cannot read the cluster's setup",
    "echo $((1": "bash cannot read the cluster's setup",
}
ENDING = ("exit 3", "exit 0", "return", ": ${NOT_SET:?}", "set -e; false")


def with_setup(cluster: Cluster, line: str) -> Cluster:
    """Give `cluster` with a root that only its setup tells: so each script has to run that."""
    return replace(cluster, root="$ROOT_HERE", setup=(f"export ROOT_HERE={cluster.root}", line))


@VERBS
@pytest.mark.parametrize("name", SETUPS)
def test_a_script_does_its_work_whatever_the_setup_lines_are(
    does: Callable[[Cluster, Connections, Path], None],
    name: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile("")
    does(with_setup(cluster, SETUPS[name]), connections, tmp_path)


@VERBS
@pytest.mark.parametrize("left", ["set -ET", "shopt -s extdebug", "trap 'false' ERR"])
def test_a_line_of_setup_that_succeeds_does_so_whatever_the_profile_left(
    does: Callable[[Cluster, Connections, Path], None],
    left: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile(left)
    does(with_setup(cluster, "SITE=$(false; echo x)\nmodule() { false; true; }; module load x"), connections, tmp_path)


@pytest.mark.parametrize("line", FAILING)
@pytest.mark.parametrize("does", [submits, builds])
def test_a_line_of_setup_that_fails_ends_a_submission_and_a_build(
    does: Callable[[Cluster, Connections, Path], None],
    line: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile("")
    with refused(does, FAILING[line], cluster):
        does(with_setup(cluster, line), connections, tmp_path)


@pytest.mark.parametrize("line", ["false", "module load nothing", "cd /nowhere"])
@pytest.mark.parametrize("does", [does for does in DOES if does not in (submits, builds)])
def test_a_line_of_setup_that_fails_ends_nothing_else(
    does: Callable[[Cluster, Connections, Path], None],
    line: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile("")
    does(with_setup(cluster, line), connections, tmp_path)


@VERBS
@pytest.mark.parametrize("line", ENDING)
def test_a_line_of_setup_that_ends_the_script_is_named(
    does: Callable[[Cluster, Connections, Path], None],
    line: str,
    profile: Callable[[str], None],
    cluster: Cluster,
    connections: Connections,
    tmp_path: Path,
) -> None:
    profile("")
    with refused(does, "the cluster's setup", cluster):
        does(with_setup(cluster, line), connections, tmp_path)


def test_the_archive_of_small_files_is_made_whatever_functions_a_shell_exports(
    cluster: Cluster, connections: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    (programs / "sh").symlink_to("/bin/bash")  # as on Red Hat's systems
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("cd", "tar", "printf"):
        monkeypatch.setenv(f"BASH_FUNC_{name}%%", "() { builtin echo no; }")
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=*")
    fetches(cluster, connections, tmp_path)
