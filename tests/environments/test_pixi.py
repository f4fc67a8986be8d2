"""Manifests: what an image needs of them, in every spelling that Pixi has had."""

import pytest

from hpcdeploy.environments.pixi import Workspace, is_manifest, read_manifest
from hpcdeploy.environments.pixi_package import package_places
from hpcdeploy.environments.pixi_platform import LINUX, Platform
from hpcdeploy.errors import EnvironmentFileError

MANIFEST = """
[workspace]
name = "cuda-exercise"
channels = ["conda-forge"]
platforms = ["linux-64", "osx-arm64"]

[system-requirements]
libc = { family = "glibc", version = "2.31" }

[activation]
scripts = ["setup.sh"]

[target.win-64.activation]
scripts = ["setup.bat"]

[feature.gpu.system-requirements]
cuda = "12"

[feature.newer.system-requirements]
cuda = "12.9"

[feature.gpu.target.linux-64.activation]
scripts = ["gpu.sh"]

[feature.mac]
platforms = ["osx-arm64"]

[environments]
cpu = []
gpu = ["gpu"]
newest = { features = ["gpu", "newer"], solve-group = "all" }
bare = { features = ["gpu"], no-default-feature = true }
mac = ["mac"]
"""


def cuda_of(workspace: Workspace, environment: str) -> str:
    return workspace.platforms_for(workspace.environment(environment))[0].cuda


def glibc_of(workspace: Workspace, environment: str) -> str:
    return workspace.platforms_for(workspace.environment(environment))[0].glibc


def test_the_workspace_and_its_environments_are_read() -> None:
    workspace = read_manifest(MANIFEST)
    assert workspace.name == "cuda-exercise"
    assert workspace.platforms == (Platform(name=LINUX, subdir=LINUX), Platform(name="osx-arm64", subdir="osx-arm64"))
    assert [environment.name for environment in workspace.environments] == ["default", "cpu", "gpu", "newest", "bare", "mac"]
    assert [feature.name for feature in workspace.environment("newest").features] == ["gpu", "newer", "default"]


@pytest.mark.parametrize(("name", "cuda"), [("default", ""), ("cpu", ""), ("gpu", "12"), ("newest", "12.9"), ("bare", "12")])
def test_the_highest_cuda_of_an_environments_features_is_what_it_asks_for(name: str, cuda: str) -> None:
    workspace = read_manifest(MANIFEST)
    assert cuda_of(workspace, name) == cuda


def test_versions_are_compared_as_numbers() -> None:
    text = '[workspace]\nname="x"\nplatforms=["linux-64"]\n[system-requirements]\ncuda="9.2"\n'
    text += '[feature.f.system-requirements]\ncuda="12.10"\n[environments]\ne=["f"]\n'
    workspace = read_manifest(text)
    assert cuda_of(workspace, "e") == "12.10"


def test_glibc_is_not_said_unless_the_top_level_says_it() -> None:
    workspace = read_manifest(MANIFEST)
    assert glibc_of(workspace, "gpu") == "2.31"
    assert glibc_of(workspace, "bare") == ""


def test_activation_scripts_of_linux_are_those_of_the_environments_features() -> None:
    features = read_manifest(MANIFEST).environment("gpu").on(Platform(name=LINUX, subdir=LINUX)).features
    assert {script for feature in features for script in feature.scripts} == {"setup.sh", "gpu.sh"}


def test_the_version_of_another_c_library_is_not_that_of_glibc() -> None:
    text = MANIFEST.replace('family = "glibc", version = "2.31"', 'family = "musl", version = "1.2"')
    assert glibc_of(read_manifest(text), "gpu") == ""


RICH = """
[workspace]
name = "rich"
platforms = [
  "osx-arm64",
  { platform = "linux-64", cuda = "12.9", glibc = "2.34" },
  { name = "old", platform = "linux-64", cuda = { driver = "11.8", arch = "8.6" } },
]
[feature.old]
platforms = ["old"]
[environments]
old = ["old"]
"""


def test_platforms_that_carry_virtual_packages_say_cuda_and_glibc() -> None:
    workspace = read_manifest(RICH)
    assert cuda_of(workspace, "old") == "11.8"
    assert glibc_of(workspace, "old") == ""
    assert cuda_of(workspace, "default") == "12.9"
    assert glibc_of(workspace, "default") == "2.34"


def test_a_workspace_in_pyproject_is_read_and_takes_the_projects_name() -> None:
    text = '[project]\nname = "mine"\n[tool.pixi.workspace]\nplatforms = ["linux-64"]\n'
    text += '[tool.pixi.system-requirements]\ncuda = "12"\n'
    workspace = read_manifest(text, "pyproject.toml")
    assert workspace.name == "mine"
    assert cuda_of(workspace, "default") == "12"
    assert is_manifest(text, "pyproject.toml")
    assert not is_manifest("[tool.ruff]\n", "pyproject.toml")


def test_the_old_project_table_is_read() -> None:
    assert read_manifest('[project]\nname = "old"\nplatforms = ["linux-64"]\n').name == "old"


@pytest.mark.parametrize(
    ("text", "file", "words"),
    [
        ("[workspace\n", "pixi.toml", ["pixi.toml is not valid TOML", "line 1"]),
        ("[dependencies]\n", "pixi.toml", ["no [workspace] table"]),
        ("[tool.ruff]\n", "pyproject.toml", ["no [tool.pixi]"]),
        ("workspace = 3\n", "pixi.toml", ["pixi.toml: workspace is 3", "expected a table"]),
        ('[workspace]\nplatforms = "linux-64"\n', "pixi.toml", ["expected a list"]),
        ('[workspace]\nplatforms = [{ cuda = "12" }]\n', "pixi.toml", ["without 'platform'"]),
        (
            '[workspace]\n[feature.gpu]\n[environments]\ne = ["gpo"]\n',
            "pixi.toml",
            ["environments.e", "did you mean 'gpu'?"],
        ),
        ("[workspace]\n[system-requirements]\ncuda = true\n", "pixi.toml", ["system-requirements.cuda is True"]),
    ],
)
def test_a_manifest_that_is_wrong_says_where(text: str, file: str, words: list[str]) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        read_manifest(text, file)
    for word in words:
        assert word in str(caught.value)


def test_an_environment_that_is_not_there_is_told_with_the_nearest_spelling() -> None:
    with pytest.raises(EnvironmentFileError, match="has no environment 'gpuu'; did you mean 'gpu'"):
        read_manifest(MANIFEST).environment("gpuu")


def test_an_environment_for_another_platform_only_is_refused() -> None:
    workspace = read_manifest(MANIFEST)
    with pytest.raises(EnvironmentFileError, match="'mac' does not support linux-64"):
        cuda_of(workspace, "mac")


INLINE = """
[workspace]
name = "inline"
platforms = ["linux-64", { name = "gpu", platform = "linux-64", cuda = "12.9" }, "osx-arm64"]

[dependencies]
python = "*"

[feature.named.activation]
scripts = ["named.sh"]

[environments.own]
features = ["named"]
platforms = ["gpu"]
dependencies = { lib = { path = "packages/lib" }, numpy = "*" }
dev = { tool = { path = "tool" } }

[environments.own.pypi-dependencies]
My_Code = { path = ".", editable = true }

[environments.own.activation]
scripts = ["own.sh"]

[environments.own.target.gpu.activation]
scripts = ["gpu.sh"]

[environments.own.target."*pu".pypi-dependencies]
more = { path = "more", editable = true }

[environments.own.target.osx-arm64.activation]
scripts = ["mac.sh"]

[environments.alone]
no-default-feature = true
activation.scripts = ["alone.sh"]
"""


def test_what_stands_in_an_environment_itself_is_its_first_feature() -> None:
    workspace = read_manifest(INLINE)
    own = workspace.environment("own")
    assert [feature.name for feature in own.features] == ["environments.own", "named", "default"]
    [platform] = workspace.platforms_for(own)
    assert (platform.name, cuda_of(workspace, "own")) == ("gpu", "12.9")
    own = own.on(platform)
    assert [feature.scripts for feature in own.features] == [("own.sh", "gpu.sh"), ("named.sh",), ()]
    assert own.features[0].editable == ("my-code", "more")
    assert own.features[0].sources == (("lib", "packages/lib"), ("tool", "tool"))


def test_what_stands_in_an_environment_is_no_other_environments() -> None:
    workspace = read_manifest(INLINE)
    assert [feature.name for feature in workspace.environment("default").features] == ["default"]
    assert [feature.scripts for feature in workspace.environment("alone").features] == [("alone.sh",)]


def test_a_list_or_a_bare_table_of_features_adds_no_feature() -> None:
    for words in ('["f"]', '{ features = ["f"], solve-group = "g" }'):
        workspace = read_manifest(f"[workspace]\n[feature.f.dependencies]\n[environments]\ne = {words}\n")
        assert [feature.name for feature in workspace.environment("e").features] == ["f", "default"]


def test_targets_of_the_top_level_and_of_features_hold_by_name_and_pattern() -> None:
    text = '[workspace]\nplatforms = [{ name = "a100", platform = "linux-64", cuda = "12" }, "linux-64"]\n'
    text += '[target.a100.activation]\nscripts = ["a100.sh"]\n[target."a*".activation]\nscripts = ["a.sh"]\n'
    text += '[target.win.activation]\nscripts = ["win.bat"]\n'
    text += '[feature.f.target.a100.pypi-dependencies]\nx = { path = "x", editable = true }\n[environments]\nf = ["f"]\n'
    workspace = read_manifest(text)
    a100, plain = workspace.platforms_for(workspace.environment("f"))
    features = workspace.environment("f").on(a100).features
    assert [(one.scripts, one.editable) for one in features] == [((), ("x",)), (("a100.sh", "a.sh"), ())]
    assert [(one.scripts, one.editable) for one in workspace.environment("f").on(plain).features] == [((), ()), ((), ())]


def test_sources_are_named_wherever_a_manifest_may_name_one() -> None:
    text = """
[workspace]
platforms = ["linux-64"]
dependencies = { shared = { path = "shared" } }
build-variants-files = ["variants.yaml"]
conda-pypi-map = { a = "map.json", b = "https://example.org/map", c = false, d = { location = "other.json" } }
[dependencies]
a = { path = "a" }
shared = { workspace = true }
remote = { git = "https://example.org/x" }
described = { path = "d", package = { build = { backend = { name = "b" } }, host-dependencies = { h = { path = "h" } } } }
[host-dependencies]
b = { path = "b" }
[target.linux.dev]
c = { path = "c" }
"""
    workspace = read_manifest(text)
    assert workspace.reads == ("variants.yaml", "map.json", "other.json")
    [feature] = workspace.environment("default").on(Platform(name=LINUX, subdir=LINUX)).features
    assert [path for _, path in feature.sources] == ["a", "shared", "d", "b", "h", "c"]


@pytest.mark.parametrize(
    ("text", "file", "places"),
    [
        ('[package]\nname = "x"\n[package.build]\nsource = { path = "../src" }\n', "pixi.toml", ["../src"]),
        ('[tool.pixi.package.build]\nbackend = { name = "b", path = "../b" }\n', "pyproject.toml", ["../b"]),
        (
            '[package.build-dependencies]\nx = { path = "../x" }\n[package.run-dependencies]\ny = "*"\n',
            "pixi.toml",
            ["../x"],
        ),
        ('[package.host-dependencies."if(host_platform == \'linux-64\')"]\nx = { path = "../x" }\n', "pixi.toml", ["../x"]),
        ('[package.target.linux.run-dependencies]\nx = { path = "../x" }\n', "pixi.toml", ["../x"]),
        ('[package.build]\nsource = { git = "https://example.org/x" }\n', "pixi.toml", []),
        ("[project]\nname = 'x'\n", "pyproject.toml", []),
        ("source:\n  path: ..\n", "recipe.yaml", [".."]),
        ("source:\n- if: unix\n  then:\n    path: ../u\n- url: https://example.org/x\n", "recipe.yaml", ["../u"]),
        ("source:\n  path: ${{ where }}\n", "recipe.yaml", []),
    ],
)
def test_a_packages_manifest_names_what_lies_elsewhere(text: str, file: str, places: list[str]) -> None:
    assert [path for _, path in package_places(text, file)] == places


@pytest.mark.parametrize(("text", "file"), [("[package", "pixi.toml"), ("a: [", "recipe.yaml")])
def test_a_packages_manifest_that_cannot_be_read_is_refused(text: str, file: str) -> None:
    with pytest.raises(EnvironmentFileError, match=f"{file} is not valid"):
        package_places(text, file)
