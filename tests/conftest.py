"""What every test may ask for: the lab, a real cluster on this machine."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.lab import cluster
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.settings import default_settings
from hpcdeploy.lab.state import Lab

OWN = f"pytest-{os.getpid()}"
"""A folder in the lab's scratch that is this test run's alone; also a word for whatever else there has a name."""

# A shell starts what runs in the background with SIGINT ignored, and every child would inherit that (POSIX sh, 2.11).
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hd", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Give the shared lab, running with accounting; it is taken down afterwards only if it was not up before.

    Its folder ``$SCRATCH/OWN`` is empty and the lab user's, and gone afterwards: several test runs may use one lab.
    """
    settings = default_settings()
    was_up = cluster.find(settings) is not None
    lab = cluster.up(settings, print)
    folder = f"{lab.scratch}/{OWN}"
    made = inside(lab, ["sh", "-c", f"rm -rf {folder} && install -d -m 0700 -o {lab.user} {folder}"])
    assert made.returncode == 0, made.stderr.decode()
    yield lab
    inside(lab, ["rm", "-rf", folder])
    if not was_up:
        cluster.down(settings, print)
