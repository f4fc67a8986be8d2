"""Running on this machine, with a real Apptainer: the lab's login node is the machine."""

import json
import subprocess

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.cluster.test_words import END, LISTS, PROGRAM, VALUES
from tests.here.conftest import Here

IMAGE = "../small.sif"
AT_A_TERMINAL = """
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said, pressed = b"", False
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    said += piece
    if b"ready" in said and not pressed:
        os.write(terminal, bytes([3]))
        pressed = True
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_job_runs_with_its_words_environment_and_binds_and_what_is_for_clusters_is_told(here: Here) -> None:
    done = here("run")
    assert done.returncode == 0, done.stderr.decode()
    odd = 'it\'s "$HOME" \x81 \n ✓ '
    assert done.stdout.decode() == f"active|{odd}|0|two words||{here.home}/project\n"
    told = done.stderr.decode()
    assert "ignored here, because they only apply to clusters: memory, time, slurm" in told
    assert "report requests 2 GPUs, but there is no GPU on this machine: running without" in told
    assert here.said("run", "report", "--", "cat", "/data/input") == b"bound\n"
    assert here("run", "report", "--", "touch", "/data/new").returncode == 1


def test_an_image_without_a_command_runs_its_run_script(here: Here) -> None:
    assert here.said("run", IMAGE) == b"run script: \n"


def test_an_image_of_the_project_is_its_latest_build(here: Here) -> None:
    assert here.said("run", "built") == b"run script: \n"
    assert here.said("run", "built", "--", "sh", "-c", "echo $FROM_IMAGE $HPCDEPLOY_TASK") == b"active\n"


def test_an_image_of_a_registry_runs_without_being_built(here: Here) -> None:
    image = f"docker://{here.lab.registry}/prefix-dev/pixi:noble"
    assert (
        here.said("run", image, "-e", "MINE=1", "--", "sh", "-c", "echo $MINE; pwd") == f"1\n{here.home}/project\n".encode()
    )


def test_a_command_runs_in_the_active_environment_and_writes_into_the_working_folder(here: Here) -> None:
    said = here.said("run", IMAGE, "-e", "MINE=x=1", "--", "sh", "-c", 'echo "$FROM_IMAGE $MINE" | tee written')
    assert said == b"active x=1\n"
    assert (here.project / "written").read_bytes() == said


def test_the_working_folder_stays_out_where_that_is_said(here: Here) -> None:
    folder = f"{here.home}/project"
    assert here("run", IMAGE, "--no-mount-cwd", "--", "test", "-e", folder).returncode == 1
    assert here("run", IMAGE, "--", "test", "-e", f"{folder}/hpcdeploy.toml").returncode == 0


@pytest.mark.parametrize("name", ["with:colon", "with,comma", 'with "quotes"', "with space", "ünï"])
def test_every_working_folder_can_be_mounted(here: Here, name: str) -> None:
    folder = f"{here.home}/project/{name}"
    assert here.shell(f"mkdir -p '{folder}'").returncode == 0
    words = here.argv(
        "run", f"{here.home}/small.sif", "--bind", f"{here.home}/data:/data:ro", "--", "sh", "-c", "pwd; ls /data"
    )
    words[words.index(f"{here.home}/project")] = folder
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.stdout.decode() == f"{folder}\ninput\n", done.stderr


@pytest.mark.parametrize(("line", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("exit 255", 255)])
def test_the_exit_code_is_the_programs_own(here: Here, line: str, code: int) -> None:
    assert here("run", IMAGE, "--", "sh", "-c", line).returncode == code


def test_input_output_and_bytes_that_are_no_text_pass_straight(here: Here) -> None:
    assert (
        here.said("run", IMAGE, "--", "sh", "-c", 'printf "%s" "$1"; cat', "sh", b"caf\xe9", stdin=b"\x00\xff")
        == b"caf\xe9\x00\xff"
    )


def test_two_hundred_argument_lists_arrive_as_they_were_typed(here: Here) -> None:
    checked = 0

    # Each example starts one container with a hundred argument lists in its command.
    @settings(
        max_examples=2,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(LISTS, VALUES)
    def check(lists: list[list[str]], values: list[str]) -> None:
        nonlocal checked
        words = [word for arguments in lists for word in (*arguments, END)]
        environment = {f"V_{number}": value for number, value in enumerate(values)}
        options = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        said = here.said("run", IMAGE, *options, "--", "python3", "-c", PROGRAM, *words)
        assert json.loads(said) == [words, environment]
        checked += len(lists)

    check()
    assert checked >= 200


def test_what_dry_run_prints_does_the_same_by_hand(here: Here) -> None:
    by_hand = here("run", "--dry-run")
    assert by_hand.returncode == 0, by_hand.stderr
    folder = f"{here.home}/project"
    done = here.shell(f"cd {folder} && sh -s <<'END OF SCRIPT'\n{by_hand.stdout.decode()}\nEND OF SCRIPT")
    assert done.stdout == here.said("run"), done.stderr


def test_nothing_of_the_callers_python_shines_through(here: Here) -> None:
    words = ("run", IMAGE, "--", "sh", "-c", "echo $PYTHONPATH")
    assert here.said(*words) == b"\n"


def test_a_shell_takes_its_lines_from_the_input_and_has_the_environment(here: Here) -> None:
    said = here.said("shell", "report", stdin=b'echo "$FROM_IMAGE $HPCDEPLOY_TASK"; exit 0\n')
    assert said == b"active 0\n"
    assert here("shell", IMAGE, stdin=b"exit 3\n").returncode == 3


def test_a_signal_reaches_the_program_and_nothing_is_left(here: Here) -> None:
    place = f"{here.home}/tmp-of-its-own"
    here.shell(f"mkdir {place}")
    program = "trap 'echo got it; exit 9' TERM; touch started; while :; do sleep 0.1; done"
    run = here.argv("run", IMAGE, "--", "sh", "-c", program, environment={"TMPDIR": place})
    # The signal is sent inside the lab: its processes have numbers of their own.
    line = (
        'rm -f started; "$@" & child=$!; until [ -e started ]; do sleep 0.1; done; kill -TERM $child; wait $child; exit $?'
    )
    start = run.index("python3")
    done = subprocess.run([*run[:start], "sh", "-c", line, "sh", *run[start:]], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (9, b"got it\n"), done.stderr
    assert here.shell(f"ls -A {place}").stdout == b""


def test_at_a_terminal_ctrl_c_reaches_the_program_once_and_it_decides(here: Here) -> None:
    program = "trap 'echo caught; sleep 0.5; exit 6' INT; tty; echo ready; while :; do sleep 0.1; done"
    run = here.argv("run", IMAGE, "--", "sh", "-c", program)
    start = run.index("python3")
    done = subprocess.run(
        [*run[:start], "python3", "-c", AT_A_TERMINAL, *run[start:]], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 6, done.stderr
    assert b"/dev/pts/" in done.stdout
    assert done.stdout.count(b"caught") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "reprot"), 2, "did you mean report"),
        (("run", "small"), 2, "run 'hpcdeploy build small'"),
        (("run", "none.sif"), 2, "does not exist"),
        (("run", IMAGE, "--engine", "docker"), 2, "docker cannot run"),
        (("run", "docker://python", "--engine", "podman"), 73, "podman is not on this machine's PATH"),
        (("run", IMAGE, "--engine", "rkt"), 2, "expected auto, apptainer"),
        (("run", IMAGE, "--bind", "not-there:/x"), 2, "does not exist on this machine"),
        (("run", "instance://none"), 78, "no instance 'none'"),
    ],
)
def test_what_cannot_be_is_one_message(here: Here, words: tuple[str, ...], code: int, said: str) -> None:
    done = here(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
