"""What several tests of flows share."""

from pathlib import Path

import pytest

from hpcdeploy.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty record."""
    return Store(tmp_path / "runs.db")
