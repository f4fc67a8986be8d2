"""A machine like a person's Mac."""

import shutil
from pathlib import Path

import pytest

IMITATION = Path(__file__).with_name("imitation")
"""The folder for PYTHONPATH that lets Python imitate macOS."""

TOOLS = ("sh", "git", "ssh")
"""Programs that macOS has and hpcdeploy may start; GNU's and util-linux's are not among them."""


@pytest.fixture
def mac(tmp_path: Path) -> Path:
    """Give a folder like a person's on macOS: reached through a link, as all of /tmp, /var and /etc is there."""
    (tmp_path / "private" / "home").mkdir(parents=True)
    (tmp_path / "private" / "tools").mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"{name} is missing: tests/packages.sh installs it"
        (tmp_path / "private" / "tools" / name).symlink_to(found)
    (tmp_path / "var").symlink_to("private")
    return tmp_path / "var"
