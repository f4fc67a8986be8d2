"""What pixi-build reads in the workspace is shipped into the build: Pixi's documentation, "Dev" and "Package source"."""

from pathlib import Path

import pytest

from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import dockerfile_of, generate
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import PixiSource
from tests.builds.test_pixi_source import lock, shipped, write

HEAD = '[workspace]\nname = "x"\nchannels = []\nplatforms = ["linux-64", "osx-arm64"]\npreview = ["pixi-build"]\n'
PACKAGE = '[package]\nname = "mine"\nversion = "1.0.0"\n[package.build]\nbackend = { name = "pixi-build-cmake" }\n'
SETTINGS = ImageSettings(name="x", source=PixiSource())


def project(folder: Path, manifest: str, files: dict[str, str], *entries: str) -> Path:
    return write(folder, {"pixi.toml": HEAD + manifest, "pixi.lock": lock(*entries), **files})


WHERE = {
    "the top level": '[dev]\nmine = { path = "mine" }\n',
    "a feature": '[feature.f.dev]\nmine = { path = "./mine" }\n[environments]\ndefault = ["f"]\n',
    "a target": '[target.linux.dev]\nmine = { path = "mine/" }\n',
    "an environment": '[environments.default.dev]\nmine = { path = "mine" }\n',
    "an environment's target": '[environments.default.target.linux-64.dev]\nmine = { path = "mine" }\n',
    "another environment": '[environments.other.dev]\nmine = { path = "mine" }\n',
    "another platform": '[target.osx.dev]\nmine = { path = "mine" }\n',
    "a dependency": '[dependencies]\nmine = { path = "mine" }\n',
}


@pytest.mark.parametrize("manifest", WHERE.values(), ids=WHERE)
def test_the_folder_of_a_package_is_shipped_wherever_it_is_named(tmp_path: Path, manifest: str) -> None:
    folder = project(tmp_path, manifest, {"mine/pixi.toml": PACKAGE, "mine/src/main.cpp": "", "other.txt": ""})
    definition = generate(SETTINGS, folder)
    assert shipped(definition) == ["source/app/mine/pixi.toml", "source/app/mine/src/main.cpp"]
    build, final = read_definition(definition.text)
    pairs = [pair for section in build.files for pair in section.pairs]
    assert ("source/app/mine", "/app/") in pairs
    assert not [pair for section in final.files for pair in section.pairs if "mine" in pair[0]]
    docker = dockerfile_of(SETTINGS, folder)
    assert "\nCOPY mine /app/mine\n" in docker.dockerfile
    assert "!mine\n" in docker.ignore


def test_a_source_beside_its_manifest_is_shipped_and_what_it_needs(tmp_path: Path) -> None:
    package = PACKAGE + 'source = { path = "../src" }\n[package.host-dependencies]\nlib = { path = "../lib" }\n'
    files = {
        "mine/pixi.toml": package,
        "src/main.cpp": "",
        "lib/pyproject.toml": '[tool.pixi.package.run-dependencies]\ni = { path = "inner" }\nd = { path = "../deep" }\n',
        "lib/inner/pixi.toml": PACKAGE,
        "deep/recipe.yaml": "source:\n  path: ../data\n",
        "data/x.csv": "",
        "unrelated/y": "",
    }
    entry = "conda: ./mine\nname: mine\nversion: 1.0.0"
    definition = generate(SETTINGS, project(tmp_path, '[dependencies]\nmine = { path = "mine" }\n', files, entry))
    assert shipped(definition) == [
        "source/app/data/x.csv",
        "source/app/deep/recipe.yaml",
        "source/app/lib/inner/pixi.toml",
        "source/app/lib/pyproject.toml",
        "source/app/mine/pixi.toml",
        "source/app/src/main.cpp",
    ]
    assert definition.notes == ("mine is built from its source in 'mine'; the source is not in the image",)


def test_packages_that_name_each_other_end(tmp_path: Path) -> None:
    files = {
        "a/pixi.toml": '[package.run-dependencies]\nb = { path = "../b" }\n',
        "b/pixi.toml": '[package.run-dependencies]\na = { path = "../a" }\n',
    }
    definition = generate(SETTINGS, project(tmp_path, '[dev]\na = { path = "a" }\n', files))
    assert shipped(definition) == ["source/app/a/pixi.toml", "source/app/b/pixi.toml"]


def test_the_files_that_the_workspace_names_are_shipped(tmp_path: Path) -> None:
    manifest = 'build-variants-files = ["variants/a.yaml"]\nconda-pypi-map = { conda-forge = "map.json" }\n'
    folder = project(tmp_path, manifest, {"variants/a.yaml": "python:\n- 3.12.*\n", "map.json": "{}"})
    assert shipped(generate(SETTINGS, folder)) == ["source/app/map.json", "source/app/variants/a.yaml"]


OUTSIDE = {
    "dev": ('[dev]\nmine = { path = "../mine" }\n', {}),
    "home": ('[dev]\nmine = { path = "~/mine" }\n', {}),
    "absolute": ('[dev]\nmine = { path = "/srv/mine" }\n', {}),
    "a source": ('[dev]\nmine = { path = "mine" }\n', {"mine/pixi.toml": PACKAGE + 'source = { path = "../../src" }\n'}),
}


@pytest.mark.parametrize(("manifest", "files"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_lies_outside_the_workspace_is_refused(tmp_path: Path, manifest: str, files: dict[str, str]) -> None:
    with pytest.raises(EnvironmentFileError, match=r"is built from '.*', which is outside the workspace"):
        generate(SETTINGS, project(tmp_path, manifest, files))


def test_what_only_another_environment_has_outside_is_passed_over(tmp_path: Path) -> None:
    manifest = '[environments.other.dev]\nmine = { path = "../mine" }\n'
    assert shipped(generate(SETTINGS, project(tmp_path, manifest, {}))) == []


def test_a_folder_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(
        DefinitionError, match=r"the source of the package 'mine' names .* correct the path or create the file"
    ):
        generate(SETTINGS, project(tmp_path, '[dev]\nmine = { path = "mine" }\n', {}))


def test_an_inline_environments_editable_package_is_kept_and_its_script_shipped(tmp_path: Path) -> None:
    manifest = """
[environments.default.pypi-dependencies]
code = { path = "code", editable = true }
[environments.default.activation]
scripts = ["on.sh"]
[environments.default.target."linux-*".activation]
scripts = ["linux.sh"]
"""
    files = {"code/pyproject.toml": '[project]\nname = "code"\n', "on.sh": "", "linux.sh": ""}
    definition = generate(SETTINGS, project(tmp_path, manifest, files, "pypi: ./code\nname: code"))
    final = read_definition(definition.text)[1]
    pairs = [pair for section in final.files for pair in section.pairs]
    assert ("/app/code", "/app/") in pairs
    staged = [file.staged for file in definition.files]
    assert [name for name in staged if name.endswith(".sh")] == ["workspace/on.sh", "workspace/linux.sh"]
