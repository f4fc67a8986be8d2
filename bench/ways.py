"""The two ways to the lab: as near as it is, and as far as a cluster is."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy_lab.state import Lab

ONE_WAY = 0.025
"""Seconds that each byte is on its way longer: 50 ms more for a question and its answer."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the lab is reached: the SSH configuration that leads there, and what to say behind a measurement's name."""

    config: Path
    words: str = ""


@contextmanager
def ways(lab: Lab, folder: Path) -> Iterator[tuple[Way, Way]]:
    """Give the near way and the far one; `folder` takes the far one's files."""
    command = [sys.executable, "-m", "bench.delay", str(lab.ssh_port), str(ONE_WAY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as delay:
        assert delay.stdout is not None
        try:
            far = _configured(lab, int(delay.stdout.readline()), folder)
            yield Way(config=lab.ssh_config), Way(config=far, words=" with 50 ms more")
        finally:
            delay.terminate()


def _configured(lab: Lab, port: int, folder: Path) -> Path:
    near, keys = lab.ssh_config, lab.ssh_config.with_name("known_hosts")
    known, config = folder / "known_hosts", folder / "far_ssh_config"
    known.write_text(keys.read_text(encoding="utf-8").replace(f":{lab.ssh_port} ", f":{port} "), encoding="utf-8")
    text = near.read_text(encoding="utf-8").replace(f"Port {lab.ssh_port}", f"Port {port}").replace(str(keys), str(known))
    config.write_text(text, encoding="utf-8")
    return config
