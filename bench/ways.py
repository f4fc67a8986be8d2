"""Connect to the lab in two ways: directly, and with the delay of a distant cluster."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy_lab.state import Lab

ONE_WAY = 0.025
"""Additional delay in seconds of each byte in one direction, so that a round trip takes 50 ms longer."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to connect to the lab.

    Attributes:
        config: The path of the SSH configuration for this way.
        words: The suffix of the names of measurements that use this way.
    """

    config: Path
    words: str = ""


@contextmanager
def ways(lab: Lab, folder: Path) -> Iterator[tuple[Way, Way]]:
    """Yield the direct way and the one with the delay; the files of the latter are in `folder`."""
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
