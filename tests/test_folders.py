from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hpcdeploy.folders import cache_folder, config_folder, state_folder

Folder = Callable[[Mapping[str, str]], Path]
EACH = pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [
        (config_folder, "XDG_CONFIG_HOME", ".config"),
        (state_folder, "XDG_STATE_HOME", ".local/state"),
        (cache_folder, "XDG_CACHE_HOME", ".cache"),
    ],
)


@EACH
def test_the_folder_is_where_its_variable_says_else_in_the_home(folder: Folder, variable: str, default: str) -> None:
    assert folder({"HOME": "/h", variable: "/x"}) == Path("/x/hpcdeploy")
    assert folder({"HOME": "/h"}) == Path("/h", default, "hpcdeploy")


@EACH
@pytest.mark.parametrize("invalid", ["", "relative", "./x", "~/x"])
def test_a_path_that_is_not_absolute_is_ignored(folder: Folder, variable: str, default: str, invalid: str) -> None:
    assert folder({"HOME": "/h", variable: invalid}) == Path("/h", default, "hpcdeploy")


@EACH
def test_without_a_home_the_system_knows_one(folder: Folder, variable: str, default: str) -> None:
    assert folder({}) == Path.home() / default / "hpcdeploy"
