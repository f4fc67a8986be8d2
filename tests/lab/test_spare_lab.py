"""A lab of the test's own: without accounting, crashed, started twice at once, refused, taken down."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import LabError
from hpcdeploy_lab import archive, cluster, layout, process, rootfs
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.settings import LabSettings, Ports
from hpcdeploy_lab.state import Lab
from tests.lab.observing import Ask, eventually, mounts_of, processes_in

# The shared lab is asked for wherever a spare one starts, so that the root file system is made once.
pytestmark = pytest.mark.usefixtures("lab")


def namespace_of(lab: Lab) -> str:
    return str(Path(f"/proc/{lab.init_pid}/ns/pid").readlink())


def is_gone(lab: Lab, namespace: str) -> bool:
    return not processes_in(namespace) and not mounts_of(lab.state) and not lab.outer.alive()


def test_without_accounting_sacct_says_so_and_the_other_choice_restarts_the_lab(
    spare_settings: LabSettings, ask: Ask
) -> None:
    bare = cluster.up(replace(spare_settings, accounting=False))
    assert b"accounting storage is disabled" in inside(bare, ["sacct"], user=bare.user).stderr
    assert ask(bare, "sbatch --parsable --wait --wrap true").strip() == "1"
    full = cluster.up(spare_settings)
    assert full.init != bare.init
    assert full.ports == bare.ports
    assert ask(full, "sbatch --parsable --wait --wrap true").strip() == "2", "job numbers go on, as on any cluster"
    assert eventually(lambda: "COMPLETED" in ask(full, "sacct -nPX -j 2 -o State"))


def test_a_port_that_was_taken_meanwhile_is_chosen_again(
    spare_settings: LabSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.down(spare_settings)
    prepare = layout.prepare
    taken: list[socket.socket] = []

    def choose_and_lose(settings: LabSettings, root: Path) -> Ports:
        chosen = prepare(settings, root)
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", chosen.ssh)))
        return chosen

    monkeypatch.setattr(layout, "prepare", choose_and_lose)
    said: list[str] = []
    lab = cluster.up(spare_settings, said.append)
    [other] = taken
    with other:
        assert lab.ssh_port != other.getsockname()[1]
    assert "another program uses a port of the lab; starting again with other ports" in said


def test_down_leaves_no_process_no_mount_and_no_cluster(spare_settings: LabSettings) -> None:
    lab = cluster.up(spare_settings)
    namespace = namespace_of(lab)
    assert processes_in(namespace)
    assert mounts_of(lab.state)
    sleeper = subprocess.Popen(["nsenter", f"--target={lab.init_pid}", "--all", "sleep", "1000"])
    try:
        cluster.down(spare_settings)
        assert is_gone(lab, namespace), "a program that a user runs in the lab ends with it"
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not (lab.state / "cluster.toml").exists()
    assert cluster.find(spare_settings) is None
    assert cluster.status(spare_settings) == {"name": "spare", "state": "down"}
    said: list[str] = []
    cluster.down(spare_settings, said.append)
    assert said == ["no lab is running"]


@pytest.mark.parametrize("victim", ["init", "outer"])
def test_a_killed_init_takes_everything_with_it_and_the_lab_starts_again(spare_settings: LabSettings, victim: str) -> None:
    lab = cluster.up(spare_settings)
    namespace = namespace_of(lab)
    os.kill(getattr(lab, victim).pid, signal.SIGKILL)
    assert eventually(lambda: not processes_in(namespace))
    assert cluster.find(spare_settings) is None
    again = cluster.up(spare_settings)
    assert again.init != lab.init
    assert inside(again, ["sinfo", "-h"], user=again.user).returncode == 0
    namespace = namespace_of(again)
    cluster.down(spare_settings)
    assert is_gone(again, namespace)


def test_two_starts_at_once_make_one_lab(spare_settings: LabSettings) -> None:
    cluster.down(spare_settings)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(cluster.up, (spare_settings, spare_settings))
    assert first.init == second.init
    assert len(mounts_of(first.state)) > 0


def test_a_start_that_is_killed_leaves_nothing_that_down_does_not_end(spare_settings: LabSettings) -> None:
    cluster.down(spare_settings)
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from hpcdeploy_lab import cluster; from hpcdeploy_lab.settings import default_settings\n"
        "settings = replace(default_settings(name='spare'), state=Path(sys.argv[1]), base_image=False)\n"
        "cluster.up(settings, lambda line: print(line, flush=True))\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(spare_settings.state)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout:
        assert any("sshd is ready" in line for line in starter.stdout)
        starter.kill()
        starter.wait()
    assert mounts_of(spare_settings.state)
    cluster.down(spare_settings)
    assert not mounts_of(spare_settings.state)


def test_a_release_that_the_mirror_does_not_have_is_one_message_and_the_lab_stays_up(spare_settings: LabSettings) -> None:
    lab = cluster.up(spare_settings)
    unknown = replace(spare_settings, slurm="99.05")
    expected = r"has Slurm \d\d\.\d\d\.\S+ in sid; expected Slurm 99\.05; use --slurm newest"
    with pytest.raises(LabError, match=expected) as told:
        cluster.up(unknown)
    assert "\n" not in str(told.value)
    assert cluster.find(spare_settings) == lab
    assert not [left for left in spare_settings.cache.glob("*.part") if rootfs.path(unknown).name in left.name]
    assert archive.read_version(rootfs.find_mirror(), "no-such-suite") == ""


def test_an_init_that_nobody_recorded_ends_by_itself(spare_settings: LabSettings) -> None:
    cluster.down(spare_settings)
    root = rootfs.path(spare_settings)
    spare_settings.state.mkdir(parents=True, exist_ok=True)
    layout.prepare(spare_settings, root)
    waiting = process.start(root, spare_settings, spare_settings.state / "unrecorded.log")
    assert waiting.init.alive()
    os.close(waiting.opener)  # as when the starting program is killed before it has written the record
    assert eventually(lambda: not waiting.init.alive() and not waiting.outer.alive())
    process.end(waiting.init, waiting.outer)


def test_a_daemon_that_dies_is_an_error_with_the_end_of_its_log(spare_settings: LabSettings) -> None:
    wrong = replace(spare_settings, nodes=("node1", "node1"))
    with pytest.raises(LabError, match=r"(?s)slurmctld ended \(\d+\) while the lab was starting.*node1"):
        cluster.up(wrong)
    assert not mounts_of(spare_settings.state)
    assert cluster.find(spare_settings) is None
