"""The pipes by which a build reads its secrets, without a build: a step's lines as templates write them, in two shells."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_script import building
from hpcdeploy.apptainer.secret_pipes import PLACE, check_secrets, serving
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError, TemplateError
from hpcdeploy.image import Definition, Secret
from hpcdeploy.secret import SecretValue
from hpcdeploy.shell_script import library
from hpcdeploy.templates import render

VALUES = {
    "TOKEN": b'it\'s "quoted" $HOME `id` \\ \xe2\x9c\x93\nsecond line',
    "LINES": b"\n\nends with lines\n\n",
    "EMPTY": b"",
    "BINARY": bytes(range(256)) * 3,
    "LARGE": os.urandom(1_000_000),
}
SERVE = """
import sys, time
from pathlib import Path
from hpcdeploy.apptainer.secret_pipes import serving
from hpcdeploy.secret import SecretValue
with serving({"TOKEN": SecretValue(b"value")}, Path(sys.argv[1])):
    print("serving", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "pipes"
    with serving({name: SecretValue(value) for name, value in VALUES.items()}, folder):
        yield folder


@pytest.fixture(params=["bash", "dash"])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def step(folder: Path, lines: str, *names: str) -> str:
    """Return the lines of a step that asks for `names`, as every template writes them, for a shell out of a container."""
    secrets = tuple(Secret(name=name, env=name if name == "TOKEN" else "", file="") for name in names)
    values = {"setup": ({"lines": lines.splitlines(), "secrets": secrets},)}
    text = render("defs/parts/setup.def", values).replace('. "$variables"', "")
    asked = folder.with_name("ask")
    asked.write_text((folder / ".ask").read_text().replace(PLACE, str(folder)))
    return text.replace(f"{PLACE}/.ask", str(asked)).replace(PLACE, str(folder))


def run(shell: str, *texts: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([shell, "-e"], input="\n".join(texts).encode(), capture_output=True, timeout=60, check=False)


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("name", VALUES)
def test_a_step_reads_every_byte_as_often_as_it_likes(pipes: Path, shell: str, name: str) -> None:
    file = f"{PLACE}/{name}"
    lines = f"cat {file}\nhead -c 3 {file} >/dev/null\nsha256sum < {file}\nhead -c 0 {file}\nsha256sum < {file}"
    done = run(shell, step(pipes, lines, name))
    digest = f"{hashlib.sha256(VALUES[name]).hexdigest()}  -\n".encode()
    assert (done.returncode, done.stdout) == (0, VALUES[name] + digest + digest), done.stderr


def test_a_secret_out_of_a_variable_is_the_step_s_variable_and_no_other_step_s(pipes: Path, shell: str) -> None:
    show = 'printf "<%s>" "${TOKEN-none}"'
    done = run(shell, show, step(pipes, f"{show}\nsh -c '{show}'", "TOKEN"), show)
    assert done.stdout == b"<none><%s><%s><none>" % (VALUES["TOKEN"], VALUES["TOKEN"]), done.stderr


def test_only_what_a_step_asks_for_is_there_and_only_for_as_long_as_it_runs(pipes: Path, shell: str) -> None:
    ls = f"echo {pipes}/* | sed 's,{pipes}/,,g'"
    done = run(shell, ls, step(pipes, ls, "TOKEN", "BINARY"), ls, step(pipes, ls, "LARGE"), ls)
    assert done.stdout.decode().splitlines() == ["*", "BINARY TOKEN", "*", "LARGE", "*"], done.stderr
    assert listed(pipes) == set()


def test_what_a_step_leaves_running_keeps_no_secret_for_the_next(pipes: Path, shell: str) -> None:
    left = "sleep 30 >/dev/null 2>&1 &\necho $! >&2"
    done = run(shell, step(pipes, left, "TOKEN"), f"ls {pipes}")
    try:
        assert done.stdout == b""
    finally:
        os.kill(int(done.stderr), signal.SIGKILL)


def test_a_step_that_is_killed_leaves_no_secret_behind(pipes: Path) -> None:
    process = subprocess.Popen(["bash", "-e"], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(step(pipes, "sleep 600", "TOKEN").encode())
    while listed(pipes) != {"TOKEN"}:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while listed(pipes):
        time.sleep(0.01)


def test_a_step_that_fails_with_a_secret_open_fails(pipes: Path, shell: str) -> None:
    done = run(shell, step(pipes, f"head -c 1 {PLACE}/LARGE >/dev/null\nfalse", "LARGE"), "echo not reached")
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_secret_that_the_build_was_not_given_is_named(pipes: Path, shell: str) -> None:
    done = run(shell, step(pipes, "echo not reached", "TOKEN", "NOPE"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: this build was given no secret NOPE\n"


def test_a_shell_that_traces_does_not_trace_the_reading(pipes: Path, shell: str) -> None:
    done = run(shell, "set -x", step(pipes, "true", "TOKEN"))
    assert (done.returncode, b"quoted" in done.stderr) == (0, False)


def test_each_of_many_steps_in_a_row_gets_its_own_answer(pipes: Path, shell: str) -> None:
    with (pipes / ".wanted").open("w") as wanted:
        print("TOKEN", file=wanted, flush=True)
        while listed(pipes) != {"TOKEN"}:
            time.sleep(0.01)
    while listed(pipes):  # it was killed before it read its answer, which no other process reads
        time.sleep(0.01)
    assert run(shell, step(pipes, "", "NOPE")).stderr == b"error: this build was given no secret NOPE\n"
    asking = step(pipes, f"cat {PLACE}/LINES", "LINES")
    done = run(shell, *[asking] * 20)
    assert (done.returncode, done.stdout) == (0, VALUES["LINES"] * 20), done.stderr


def test_a_step_that_asks_when_the_server_has_gone_fails_with_a_message(tmp_path: Path, shell: str) -> None:
    folder = tmp_path / "pipes"
    with serving({"TOKEN": SecretValue(b"value")}, folder):
        assert run(shell, step(folder, "", "TOKEN")).returncode == 0  # the server has opened its pipes
        lines = step(folder, "echo not reached", "TOKEN")
        (folder / ".answer").unlink()
        done = run(shell, lines)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.endswith(b"error: the secrets of this build are not served any more\n")


def test_the_folder_is_this_user_s_alone_and_holds_no_value_in_a_file(pipes: Path) -> None:
    assert pipes.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in pipes.iterdir()} == {".ask", ".wanted", ".answer"}
    assert {path.name for path in pipes.iterdir() if path.is_file()} == {".ask"}


def test_nothing_is_left_after_the_build_though_nobody_asked(tmp_path: Path) -> None:
    with serving({"TOKEN": SecretValue(b"value")}, tmp_path / "pipes") as options:
        assert options == ("--bind", f"{tmp_path}/pipes:{PLACE}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_apptainer_s_own_signs_in_its_name_is_bound_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a:b,c").mkdir()
    with serving({"TOKEN": SecretValue(b"value")}, tmp_path / "a:b,c/pipes") as options:
        assert options == ("--bind", f"{tmp_path}/a\\:b\\,c/pipes:{PLACE}")


def test_a_build_without_secrets_has_no_pipes(tmp_path: Path) -> None:
    with serving({}, tmp_path / "pipes") as options:
        assert options == ()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    served = serving({"TOKEN": SecretValue(b"value")}, tmp_path / "nowhere" / "pipes")
    with pytest.raises(BuildError, match=r"cannot make named pipes in .*/nowhere/pipes"), served:
        pass


def test_the_server_ends_with_the_program_that_is_killed(tmp_path: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path / "pipes")], stdout=subprocess.PIPE)
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == b"serving\n"
        program.kill()
        program.wait()
        while (tmp_path / "pipes").exists():
            time.sleep(0.01)


def processes_of(folder: Path) -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(process)
    return found


@pytest.mark.parametrize("asked", [False, True], ids=["no request", "a step had requested it"])
def test_the_server_ends_though_somebody_removed_its_folder(tmp_path: Path, asked: bool) -> None:
    folder = tmp_path / "pipes"
    with serving({"TOKEN": SecretValue(b"value")}, folder):
        if asked:
            lines = f"rm -r {PLACE}\nsleep 0.2"  # its pipe TOKEN has a writer, which no process releases any more
            assert b".wanted: No such file" in run("bash", step(folder, lines, "TOKEN")).stderr
        else:
            while folder.exists():  # the server may just be making a pipe
                shutil.rmtree(folder, ignore_errors=True)
    while processes_of(folder):
        time.sleep(0.01)


def test_the_server_has_no_secret_in_its_arguments_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_TEST", "a value of this test")
    folder = tmp_path / "pipes"
    with serving({"TOKEN": SecretValue(b"a value of this test", variable="OF_THIS_TEST")}, folder):
        seen = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(folder).encode() not in (process / "cmdline").read_bytes():
                    continue
                shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            seen += 1
            assert b"a value of this test" not in shown
        assert seen


def test_a_build_that_asks_for_what_it_was_not_given_does_not_begin() -> None:
    definition = Definition(name="x", text="", files=(), build_args=(), inputs="", secrets=("TOKEN",))
    with pytest.raises(BuildError, match="the build of 'x' uses the secret 'TOKEN', which has no value"):
        check_secrets(definition, {})


def test_no_file_of_a_project_replaces_the_server_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"TOKEN": SecretValue(b"value")}
    definition = Definition(name="x", text="", files=(), build_args=(), inputs="", secrets=("TOKEN",))
    changed = library(["secrets.sh"]).replace("make_secrets_folder() {", 'make_secrets_folder() {\n  : >"$1.mine"', 1)
    for folder in ("here/login", "login"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "secrets.sh").write_text(changed)
    monkeypatch.chdir(tmp_path / "here")
    with serving(secrets, tmp_path / "pipes") as options:
        assert options
    assert not (tmp_path / "pipes.mine").exists()
    cluster = Cluster(name="hpc")
    assert '"$1.mine"' not in building(definition, cluster, context_sha256="", secrets=secrets, overrides=tmp_path)
    own = tmp_path / "login_templates" / "secrets.sh"
    own.parent.mkdir()
    own.write_text(changed)
    with pytest.raises(TemplateError, match=f"{own} overrides a template that no longer exists"):
        building(definition, cluster, context_sha256="", secrets=secrets, overrides=tmp_path)
