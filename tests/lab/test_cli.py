"""``hpcdeploy lab`` as a person types it."""

import json
import os
import pty
import subprocess
import sys

import pytest

from hpcdeploy_lab.state import Lab

COMMAND = [sys.executable, "-c", "from hpcdeploy.cli.main import main; main()", "lab"]


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *words], env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def test_status_tells_people_and_programs(lab: Lab) -> None:
    found = json.loads(run("status", "--json").stdout)
    assert found["state"] == "ready"
    assert set(found["services"].values()) == {"ready"}
    assert found["registry"] == lab.registry
    assert run("status").stdout.startswith("lab: ready\n")


@pytest.mark.parametrize(
    "words", [["printf", "%s|", "a b", "$HOME", "", "-x", "--json"], ["sh", "-c", "echo é; pwd; id -un"]]
)
def test_shell_hands_every_word_over_as_it_is(lab: Lab, words: list[str]) -> None:
    expected = "a b|$HOME||-x|--json|" if words[0] == "printf" else f"é\n{lab.home}\n{lab.user}\n"
    assert run("shell", "--", *words).stdout == expected


def test_shell_ends_as_the_command_did_and_may_be_root(lab: Lab) -> None:
    assert run("shell", "--", "sh", "-c", "exit 3").returncode == 3
    assert run("shell", "--root", "--", "id", "-un").stdout == "root\n"


def test_on_a_terminal_the_shell_has_a_terminal_of_the_lab(lab: Lab) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(COMMAND[0], [*COMMAND, "shell", "--", "tty"])
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        try:
            while piece := screen.read(1000):
                shown += piece
        except OSError:  # how Linux tells that the other end of a terminal has gone (EIO)
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shown.decode().startswith("/dev/pts/")


def test_where_no_lab_runs_shell_says_how_to_start_one(tmp_path: object) -> None:
    done = run("shell", XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 76
    assert "hpcdeploy lab up" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("status", XDG_STATE_HOME=str(tmp_path)).stdout == "lab: down\n"
    assert run("down", XDG_STATE_HOME=str(tmp_path)).stdout == "no lab runs\n"


def test_an_ordinary_user_is_told_that_root_is_needed(tmp_path: object) -> None:
    code = "from hpcdeploy_lab import cluster; import os; os.seteuid(65534); cluster.up()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LabError: the lab needs root" in done.stderr
