"""TOML 1.1, as Pixi reads it since 0.73, in every file that is read; and what is wrong, said with its place."""

from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.definition.base_images import load_bases
from hpcdeploy.environments.pixi import is_manifest, read_manifest
from hpcdeploy.environments.pixi_package import package_places
from hpcdeploy.errors import ConfigError, EnvironmentFileError, TemplateError
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

# The manifest of the issue: an inline table over several lines with a comma at its end. pixi/CHANGELOG.md, 0.73.0.
MANIFEST = """\
[workspace]
name = "x"
channels = ["conda-forge"]
platforms = ["linux-64"]
[tasks]
train = {
  cmd = "python train.py",
}
"""


def test_a_manifest_may_have_inline_tables_over_several_lines() -> None:
    assert read_manifest(MANIFEST).name == "x"
    inner = MANIFEST.replace("[workspace]", "[tool.pixi.workspace]").replace("[tasks]", "[tool.pixi.tasks]")
    assert is_manifest(inner, "pyproject.toml")
    assert read_manifest(inner, "pyproject.toml").name == "x"
    assert package_places("[package.build]\nsource = {\n  path = '../src',\n}\n", "pixi.toml") == (
        ("the source of pixi.toml: package", "../src"),
    )


def test_the_settings_may_have_them_too(tmp_path: Path) -> None:
    (tmp_path / "hpcdeploy.toml").write_text('[images.x]\npixi = {\n  environment = "gpu",\n}\n')
    assert "x" in load_project(tmp_path, {}).images


@pytest.mark.parametrize("host", ["pixi.toml", "pyproject.toml"])
def test_settings_in_a_manifest_may_have_them_too(tmp_path: Path, host: str) -> None:
    (tmp_path / host).write_text('[tool.hpcdeploy.images.x]\npixi = {\n  environment = "gpu", # the one with CUDA\n}\n')
    assert "x" in load_project(tmp_path, {}).images


def test_a_table_of_base_images_may_have_them_too(tmp_path: Path) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/pixi_bases.toml").write_text('repository = "r"\nplain = "noble"\ncuda = {\n "12.9" = "c",\n}\n')
    assert load_bases(tmp_path).cuda == (("12.9", "c"),)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = 1\nb = \n", (2, 5)), ("a = {\n  b = 1,\n", (3, 1)), ("a = 1\na = 2\n", (2, 6)), ("[a\n", (1, 3))],
)
def test_what_is_no_toml_is_said_with_its_place(text: str, place: tuple[int, int]) -> None:
    with pytest.raises(TomlError) as caught:
        load_toml(text)
    assert (caught.value.line, caught.value.column) == place
    assert f"line {place[0]}, column {place[1]}" in str(caught.value)


UNUSABLE = ["a = " + "9" * 5000, "a = " + "[" * 2000 + "]" * 2000]


@pytest.mark.parametrize("text", UNUSABLE, ids=["digits", "depth"])
def test_what_is_too_much_for_python_ends_in_a_message_too(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnusableTomlError):
        load_toml(text)
    with pytest.raises(EnvironmentFileError, match=r"pixi\.toml is not valid TOML"):
        read_manifest(text)
    (tmp_path / "hpcdeploy.toml").write_text(text)
    with pytest.raises(ConfigError, match="not usable TOML"):
        load_project(tmp_path, {})
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/pixi_bases.toml").write_text(text)
    with pytest.raises(TemplateError, match="is not valid TOML"):
        load_bases(tmp_path)
