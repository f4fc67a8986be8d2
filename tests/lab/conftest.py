"""A second lab for the tests that break or stop one, and the way a lab is asked."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy_lab import cluster
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.settings import LabSettings, default_settings
from hpcdeploy_lab.state import Lab
from tests.lab.observing import Ask


@pytest.fixture(scope="module")
def spare_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSettings]:
    """Settings of a lab of this test's own, over the shared root file system; it is down afterwards."""
    state = tmp_path_factory.mktemp("spare") / "state"
    settings = replace(default_settings(name="spare"), state=state, base_image=False)
    yield settings
    cluster.down(settings)


@pytest.fixture
def ask() -> Ask:
    """Run a shell line in a lab as its user, and give what it prints."""

    def run(lab: Lab, line: str) -> str:
        done = inside(lab, ["sh", "-c", line], user=lab.user, timeout=120)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout.decode()

    return run
