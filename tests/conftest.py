"""What every test may ask for: the lab, a real cluster on this machine."""

from collections.abc import Iterator

import pytest

from hpcdeploy.lab import cluster
from hpcdeploy.lab.settings import default_settings
from hpcdeploy.lab.state import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Give the shared lab, running with accounting; it is taken down afterwards only if it was not up before."""
    settings = default_settings()
    was_up = cluster.find(settings) is not None
    yield cluster.up(settings, print)
    if not was_up:
        cluster.down(settings, print)
