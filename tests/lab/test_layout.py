"""The folder of a lab: closed to other users of the machine, open to those of the lab, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy_lab import access, layout, ports, state
from hpcdeploy_lab.process import Process
from hpcdeploy_lab.settings import LabSettings, default_settings
from tests.users import BOB, as_user


@pytest.fixture(params=[0o000, 0o077])
def made(request: pytest.FixtureRequest, short: Path) -> Iterator[LabSettings]:
    """Give the settings of a lab whose folder was made with one umask or the other."""
    short.chmod(0o755)
    settings = replace(default_settings({"HOME": str(short)}), state=short / "state" / "lab")
    before = os.umask(request.param)
    try:
        chosen = layout.prepare(settings, short / "rootfs-1")
        keys = settings.state / "inside" / "keys"
        keys.mkdir()
        for name in ("user", "host.pub"):
            (keys / name).write_text("kind key")
        lab = state.describe(settings, chosen, short / "rootfs-1", Process(1, 1), Process(1, 1))
        state.write(settings.state / "lab.json", lab)
        access.register(lab)
        yield settings
    finally:
        os.umask(before)


def test_nobody_else_can_look_at_what_lab_up_has_made(made: LabSettings) -> None:
    for name in ("id_ed25519", "ssh_config", "cluster.toml", "lab.json"):
        assert stat.S_IMODE((made.state / name).stat().st_mode) == 0o600, name
    with as_user(BOB):
        for path in (made.state, made.state / "inside"):
            with pytest.raises(PermissionError):
                list(path.iterdir())


def test_the_users_of_the_lab_can_read_its_files(made: LabSettings) -> None:
    assert ports.read(made.state / "ports.json")
    for name in ("upper", "root", "home", "scratch", "files", "files/etc", "files/etc/slurm"):
        assert stat.S_IMODE((made.state / name).stat().st_mode) == 0o755, name
    assert stat.S_IMODE((made.state / "files/etc/slurm/slurm.conf").stat().st_mode) == 0o644
