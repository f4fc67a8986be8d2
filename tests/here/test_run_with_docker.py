"""Running with a real podman and a real Docker engine on this machine: an image with an entry point."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.here.engines import Podman, docker_in, make_image, podman_in
from tests.lab.observing import eventually

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
IMAGE = "docker://localhost/hpcdeploy-test:one"
Hpcdeploy = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    folder = tmp_path_factory.mktemp("podman")
    with podman_in(folder) as ready, docker_in(folder, ready):
        make_image(ready, folder, "localhost/hpcdeploy-test:one")
        yield ready


@pytest.fixture
def hpcdeploy(podman: Podman, tmp_path: Path) -> Hpcdeploy:
    def run(*words: str | bytes, stdin: bytes = b"") -> "CompletedProcess[bytes]":
        return podman(COMMAND, *words, cwd=tmp_path, stdin=stdin)

    return run


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_a_command_goes_through_the_entry_point_with_words_variables_and_the_working_folder(
    hpcdeploy: Hpcdeploy, tmp_path: Path, engine: str
) -> None:
    line = 'printf "%s|" "$FROM_ENTRYPOINT" "$ODD" "$@"; echo "$PWD" >written; cat; exit 5'
    odd = 'it\'s "$HOME" \x81 \n ✓, a=b '
    words = ("--", "sh", "-c", line, "sh", "two words", "", "-n", "\n", "é")
    done = hpcdeploy("run", IMAGE, "--engine", engine, "-e", f"ODD={odd}", *words, stdin=b"\x00\xff")
    assert done.returncode == 5, done.stderr
    assert done.stdout == f"active|{odd}|two words||-n|\n|é|".encode() + b"\x00\xff"
    assert (tmp_path / "written").read_text() == f"{tmp_path}\n"
    assert done.stderr.decode() == "note: no GPU on this machine: running without\n"


def test_without_a_command_the_images_own_runs_in_its_own_folder(hpcdeploy: Hpcdeploy) -> None:
    done = hpcdeploy("run", IMAGE)
    assert done.stdout == b"own command in /run\n", done.stderr


def test_a_bind_may_be_read_only_and_its_path_odd(hpcdeploy: Hpcdeploy, tmp_path: Path) -> None:
    odd = tmp_path / 'with "quotes" and space'
    odd.mkdir()
    (odd / "input").write_text("bound\n")
    line = "cat /data/input; touch /data/new"
    done = hpcdeploy("run", IMAGE, "--bind", f"{odd.name}:/data:ro", "--", "sh", "-c", line)
    assert (done.returncode, done.stdout) == (1, b"bound\n"), done.stderr
    assert b"ead-only" in done.stderr


def test_a_shell_reads_its_lines(hpcdeploy: Hpcdeploy) -> None:
    done = hpcdeploy("shell", IMAGE, "--engine", "podman", stdin=b'echo "$FROM_ENTRYPOINT"; exit 3\n')
    assert (done.returncode, done.stdout) == (3, b"active\n"), done.stderr


def test_bytes_that_are_no_text_are_refused(hpcdeploy: Hpcdeploy) -> None:
    done = hpcdeploy("run", IMAGE, "--engine", "podman", "--", "printf", b"caf\xe9")
    assert done.returncode == 2
    assert b"is not UTF-8" in done.stderr


def test_gpus_that_podman_cannot_hand_in_are_an_error(hpcdeploy: Hpcdeploy) -> None:
    done = hpcdeploy("run", IMAGE, "--engine", "podman", "--gpu", "--", "true")
    assert done.returncode == 73
    assert b"nvidia-ctk cdi generate" in done.stderr


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_an_instance_is_started_listed_used_and_stopped(
    hpcdeploy: Hpcdeploy, podman: Podman, tmp_path: Path, engine: str
) -> None:
    def running() -> dict[str, bool]:
        return {one["name"]: one["running"] for one in json.loads(hpcdeploy("instance", "list", "--json").stdout)}

    start = ("instance", "start", IMAGE, "service", "--engine", engine, "-e", "ODD=two words", "--")
    done = hpcdeploy(
        *start, "sh", "-c", 'printf "%s" "$ODD" >from-instance; trap "exit 0" TERM; while :; do sleep 0.1; done'
    )
    assert (done.returncode, done.stdout) == (0, b"service\n"), done.stderr
    assert running() == {"service": True}
    assert eventually((tmp_path / "from-instance").exists)
    assert eventually(lambda: (tmp_path / "from-instance").read_text() == "two words")
    mine = [one["engine"] for one in json.loads(hpcdeploy("instance", "list", "--json").stdout)]
    assert mine == [engine]
    used = hpcdeploy("run", "instance://service", "-e", "MORE=1", "--", "sh", "-c", 'echo "$ODD $MORE $PWD"; exit 4')
    assert (used.returncode, used.stdout) == (4, f"two words 1 {tmp_path}\n".encode()), used.stderr
    assert b"is already running" in hpcdeploy(*start, "sh").stderr
    assert hpcdeploy("instance", "stop", "--all").returncode == 0
    assert running() == {}
    assert podman(engine, "ps", "--all", "--quiet", cwd=tmp_path).stdout == b""


def test_an_instance_that_ended_by_itself_is_told_and_makes_room(hpcdeploy: Hpcdeploy) -> None:
    start = ("instance", "start", IMAGE, "short", "--engine", "podman", "--", "sh", "-c", "exit 0")
    assert hpcdeploy(*start).returncode == 0
    assert eventually(lambda: b"ended" in hpcdeploy("instance", "list").stdout)
    assert hpcdeploy(*start).returncode == 0
    assert hpcdeploy("instance", "stop", "short").returncode == 0
    assert hpcdeploy("instance", "stop", "short").returncode == 78
