"""Which platforms an environment has, which one an image is for, and what a lock file says to that.

The rules are those of prefix-dev/pixi 0.77 (``features_ext.rs``, ``toml/platform.rs``, ``platform_rename.rs``,
``satisfiability/platform.rs``); py-rattler reads the lock files too.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from rattler.lock import LockFile

from hpcdeploy.environments.pixi import Workspace, read_manifest
from hpcdeploy.environments.pixi_choice import Choice, choose_platform
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.environments.pixi_platform import (
    Platform,
    derived_name,
    overrides,
    read_platform,
    selects,
)
from hpcdeploy.errors import EnvironmentFileError

BOTH = """\
[workspace]
name = "both"
channels = ["conda-forge"]
platforms = ["linux-64", { name = "linux-64-cuda", platform = "linux-64", cuda = "12.9" }, "osx-arm64"]
[feature.cpu]
platforms = ["linux-64", "osx-arm64"]
[feature.gpu]
platforms = ["linux-64-cuda"]
[feature.plain.dependencies]
[environments]
cpu = ["cpu"]
gpu = ["gpu"]
mixed = ["cpu", "gpu"]
plain = ["plain"]
"""
DEFAULTS = ("__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=x86_64")
BARE = {"linux-64": DEFAULTS}
CUDA = {"p1": ("__cuda=12.9", *DEFAULTS)}


def lock_of(rows: Mapping[str, tuple[str, ...]], version: int = 7) -> str:
    """Write a lock file whose one environment, ``default``, is locked for `rows`: virtual packages by the platform's key."""
    text = f"version: {version}\n"
    if version == 7:
        text += "platforms:\n"
        for key, packages in rows.items():
            text += f"- name: {key}\n" + ("  subdir: linux-64\n" if key != "linux-64" else "")
            text += "  virtual-packages:\n" * bool(packages) + "".join(f"  - {one}\n" for one in packages)
    text += "environments:\n  default:\n    channels: []\n    packages:\n"
    return text + "".join(f"      {key}: []\n" for key in rows) + "packages: []\n"


def names(workspace: Workspace, environment: str) -> list[str]:
    return [platform.name for platform in workspace.platforms_for(workspace.environment(environment))]


@pytest.mark.parametrize(
    ("environment", "platforms", "cuda"),
    [
        ("cpu", ["linux-64"], ""),
        ("gpu", ["linux-64-cuda"], "12.9"),
        ("mixed", ["linux-64-cuda"], "12.9"),
        ("plain", ["linux-64", "linux-64-cuda"], ""),
    ],
)
def test_an_exact_name_narrows_and_a_bare_subfolder_widens_only_where_there_is_none(
    environment: str, platforms: list[str], cuda: str
) -> None:
    workspace = read_manifest(BOTH)
    assert names(workspace, environment) == platforms
    assert workspace.platforms_for(workspace.environment(environment))[0].cuda == cuda


def test_a_bare_subfolder_that_is_no_platform_stands_for_all_of_it() -> None:
    text = '[workspace]\nplatforms = [{ platform = "linux-64", cuda = "12" }, { name = "old", platform = "linux-64" }]\n'
    text += '[environments.e]\nplatforms = ["linux-64"]\n'
    assert names(read_manifest(text.replace('["linux-64"]', '["old"]')), "e") == ["old"]
    with pytest.raises(EnvironmentFileError, match="has the platform 'linux-64', which the workspace does not declare"):
        read_manifest(text)


def test_bare_platforms_of_features_count_where_the_workspace_has_none_else() -> None:
    text = '[workspace]\nplatforms = ["osx-arm64"]\n[feature.l]\nplatforms = ["linux-64"]\n[environments]\nl = ["l"]\n'
    assert names(read_manifest(text), "l") == ["linux-64"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("linux-64", "linux-64"),
        ({"platform": "linux-64", "cuda": "12.9"}, "linux-64-cuda-12-9"),
        ({"platform": "linux-64", "glibc": "2.28"}, "linux-64"),
        ({"platform": "linux-64", "glibc": "2.34", "cuda": "12"}, "linux-64-cuda-12-glibc-2-34"),
        (
            {"platform": "linux-64", "archspec": "x86_64_v3", "cuda": {"driver": "12.9", "arch": "8.6"}},
            "linux-64-cuda-12-9-archspec-x86-64-v3-cuda-arch-8-6",
        ),
        ({"platform": "linux-64", "__cuda": "12.9"}, "linux-64-cuda-12-9"),
        ({"platform": "linux-64", "__foo": "1.2=bar"}, "linux-64-foo-1-2-bar"),
        ({"name": "linux-64"}, "linux-64"),
        ({"platform": "linux-64", "linux": "5.10"}, "linux-64-linux-5-10"),
        ({"platform": "osx-arm64", "macos": "13.5"}, "osx-arm64-macos-13-5"),
        ({"platform": "osx-arm64", "osx": "13.0", "archspec": "m1"}, "osx-arm64"),
        ({"platform": "win-64", "windows": "11"}, "win-64-windows-11"),
        ({"platform": "linux-aarch64", "archspec": "armv8.2a", "cuda": "12.8"}, "linux-aarch64-cuda-12-8-archspec-armv8-2a"),
        ({"name": "gpu", "platform": "linux-64", "cuda": "12"}, "gpu"),
    ],
)
def test_a_platform_without_a_name_has_the_one_that_pixi_derives(value: object, name: str) -> None:
    platform = read_platform(value, "p")
    assert platform.name == name
    assert name.startswith(platform.subdir) or name == "gpu"


def test_what_a_platform_promises_becomes_variables() -> None:
    text = {
        "platform": "linux-64",
        "archspec": "x86_64_v3",
        "glibc": "2.34",
        "cuda": {"driver": "12.9", "arch": "8"},
        "linux": "5",
    }
    platform = read_platform(text, "p")
    assert platform.cuda == "12.9"
    assert overrides(platform) == (
        ("CONDA_OVERRIDE_CUDA_ARCH", "8.0"),
        ("CONDA_OVERRIDE_ARCHSPEC", "x86_64_v3"),
        ("CONDA_OVERRIDE_GLIBC", "2.34"),
        ("CONDA_OVERRIDE_LINUX", "5"),
    )
    assert overrides(Platform(name="linux-64", subdir="linux-64", glibc="2.28", archspec="x86_64")) == ()
    assert overrides(Platform(name="x", subdir="linux-64", cuda_arch="8.6")) == ()


@pytest.mark.parametrize(
    ("selector", "held"),
    [
        ("unix", True),
        ("linux", True),
        ("linux-64", True),
        ("gpu-a100", True),
        ("gpu-*", True),
        ("*a100", True),
        ("*-a*0", True),
        ("gpu", False),
        ("*v100", False),
        ("win", False),
        ("osx", False),
        ("linux-aarch64", False),
        ("gpu.a100", False),
    ],
)
def test_a_target_holds_for_families_subfolders_names_and_patterns(selector: str, *, held: bool) -> None:
    assert selects(selector, Platform(name="gpu-a100", subdir="linux-64")) is held


def choose(
    rows: Mapping[str, tuple[str, ...]],
    *,
    manifest: str = BOTH,
    version: int = 7,
    cuda: str | None = None,
    platform: str = "",
) -> Choice:
    workspace = read_manifest(manifest)
    lock = read_lock(lock_of(rows, version))
    return choose_platform(workspace, workspace.environment("default"), lock, cuda=cuda, platform=platform)


@pytest.mark.parametrize(
    ("how", "name", "row"),
    [
        ({}, "linux-64", "linux-64"),
        ({"cuda": ""}, "linux-64", "linux-64"),
        ({"cuda": "12.9"}, "linux-64-cuda", "p1"),
        ({"cuda": "13.0"}, "linux-64-cuda", "p1"),
        ({"platform": "linux-64-cuda"}, "linux-64-cuda", "p1"),
        ({"platform": "linux-64", "cuda": "12.9"}, "linux-64", "linux-64"),
    ],
)
def test_an_environment_with_several_platforms_is_chosen_from_and_it_is_said_which(
    how: dict[str, str], name: str, row: str
) -> None:
    choice = choose({**BARE, **CUDA}, cuda=how.get("cuda"), platform=how.get("platform", ""))
    assert (choice.platform.name, choice.row.key) == (name, row)
    assert f"the image is for the platform {name} (" in choice.note
    other = "linux-64" if row == "p1" else "linux-64-cuda"
    assert f'pixi = {{ platform = "{other}" }}' in choice.note
    assert "p1" not in choice.note


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"platform": "linux-64-cudda"}, ["has no platform 'linux-64-cudda'", "did you mean 'linux-64-cuda'?"]),
        ({"platform": "osx-arm64"}, ["'osx-arm64' is for osx-arm64", "built for linux-64"]),
        ({"platform": "p1"}, ["has no platform 'p1'"]),
        ({"cuda": "11.8"}, ["no platform of the environment 'default' fits CUDA 11.8", "linux-64-cuda (CUDA 12.9)"]),
    ],
)
def test_what_fits_no_platform_is_refused_with_the_manifests_names(how: dict[str, str], words: list[str]) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        choose({**BARE, **CUDA}, cuda=how.get("cuda"), platform=how.get("platform", ""))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("cuda", ["", "12.8", "11"])
def test_a_cuda_version_that_contradicts_the_named_platform_is_refused(cuda: str) -> None:
    asked = f"CUDA {cuda};" if cuda else "no CUDA;"
    with pytest.raises(EnvironmentFileError, match=rf"'platform' is linux-64-cuda \(CUDA 12\.9\), but .* requires {asked}"):
        choose({**BARE, **CUDA}, cuda=cuda, platform="linux-64-cuda")


@pytest.mark.parametrize(
    ("cuda", "platform", "noted"),
    [
        ("13", "", "linux-64-cuda (CUDA 12.9)"),
        ("13", "linux-64-cuda", "linux-64-cuda (CUDA 12.9)"),
        ("12.9", "linux-64", "linux-64 (no CUDA)"),
        ("12.9.0", "linux-64-cuda", ""),
        ("12.9", "", ""),
        ("", "linux-64", ""),
        (None, "", ""),
    ],
)
def test_a_cuda_version_that_is_another_than_the_platforms_is_told(cuda: str | None, platform: str, noted: str) -> None:
    note = choose({**BARE, **CUDA}, cuda=cuda, platform=platform).cuda_note
    assert note.startswith(f"the packages were solved for {noted}, but") if noted else not note
    assert f"are for CUDA {cuda}, as set by" in note or not noted


def with_platforms(platforms: str) -> Workspace:
    return read_manifest(f"[workspace]\nplatforms = {platforms}\n")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        *(
            (f'cuda = "{word}"', rf"\.cuda is '{re.escape(word)}'; expected a version")
            for word in ("*", ">=12", "12.x", "12.")
        ),
        ('cuda = { driver = "a" }', r"\.cuda is 'a'; expected a version"),
        ('cuda = { driver = "12", arch = "sm_86" }', r"\.cuda\.arch is 'sm_86'; expected a version"),
        ('"__cuda" = "x"', r"\.cuda is 'x'; expected a version"),
        ('glibc = "new"', r"\.glibc is 'new'; expected a version"),
        ('linux = "$(id)"', r"\.linux is '\$\(id\)'; expected a version"),
        ('archspec = "native"', r"\.archspec has the microarchitecture 'native'"),
        ('archspec = "a b; rm"', r"\.archspec has the microarchitecture 'a b; rm'"),
        ('archspec = "zen3:"', r"\.archspec has the microarchitecture 'zen3:'"),
        ('archspec = "neoverse_v2"', r"\.archspec .* but the image is built for linux/amd64"),
    ],
)
def test_what_is_no_version_is_refused_with_file_and_key_when_it_is_read(entry: str, message: str) -> None:
    with pytest.raises(EnvironmentFileError, match=rf"^pixi\.toml: workspace\.platforms{message}"):
        with_platforms(f'[{{ platform = "linux-64", {entry} }}]')


@pytest.mark.parametrize("key", ["cuda", "libc"])
def test_a_system_requirement_that_is_no_version_is_refused_with_its_key(key: str) -> None:
    with pytest.raises(
        EnvironmentFileError, match=rf"^pixi\.toml: .*system-requirements\.{key} is '\*'; expected a version"
    ):
        read_manifest(f'[workspace]\nplatforms = ["linux-64"]\n[system-requirements]\n{key} = "*"\n')


def test_platforms_that_are_no_list_are_refused_with_their_key() -> None:
    with pytest.raises(EnvironmentFileError, match=r"pixi\.toml: workspace\.platforms is 'linux-64'; expected a list"):
        with_platforms('"linux-64"')


def test_two_platforms_with_one_name_are_refused_unless_they_are_the_same() -> None:
    with pytest.raises(EnvironmentFileError, match=r"workspace\.platforms has two platforms with the name 'linux-64'"):
        with_platforms('["linux-64", { name = "linux-64", platform = "linux-64", cuda = "12" }]')
    assert len(with_platforms('["linux-64", "linux-64"]').platforms) == 1


def test_a_message_shows_no_credentials_and_no_long_value() -> None:
    for platforms in (
        '[{ platform = "linux-64", name = "https://me:s3cr3t@host/t/s3cr3t/x" }]',
        '[[{ url = "https://me:s3cr3t@host" }]]',
        '"https://me:s3cr3t@host"',
        f'"{"x" * 1000}"',
    ):
        with pytest.raises(EnvironmentFileError) as caught:
            with_platforms(platforms)
        assert "s3cr3t" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_a_byte_order_mark_is_passed_over_as_pixi_does() -> None:
    """Source: ``Tokenizer::new`` of EmbarkStudios/toml-span, which Pixi reads manifests with."""
    assert read_manifest(f"\ufeff{BOTH}") == read_manifest(BOTH)


def test_a_platform_of_another_environment_is_refused() -> None:
    manifest = BOTH + '[environments.default]\nfeatures = ["cpu"]\n'
    manifest = manifest.replace('[environments]\ncpu = ["cpu"]\n', "[environments]\n")
    with pytest.raises(EnvironmentFileError, match="does not support the platform 'linux-64-cuda', only linux-64;"):
        choose(BARE, manifest=manifest, platform="linux-64-cuda")


CHANGED = {
    "another CUDA": {**BARE, "p1": ("__cuda=12.8", *DEFAULTS)},
    "no CUDA": {**BARE, "p1": ("__glibc=2.34",)},
    "an archspec": {**BARE, "p1": ("__cuda=12.9", "__archspec=0=x86_64_v3")},
    "something else": {**BARE, "p1": ("__cuda=12.9", "__foo=1")},
    "one of two": BARE,
    "the other of two": CUDA,
    "another under its name": {**BARE, "linux-64-cuda": ("__cuda=13.0", *DEFAULTS)},
}


@pytest.mark.parametrize("rows", CHANGED.values(), ids=CHANGED)
def test_a_lock_file_that_does_not_fit_the_manifest_is_one_message(rows: Mapping[str, tuple[str, ...]]) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        choose(rows)
    said = str(caught.value)
    assert said.startswith("pixi.lock does not match pixi.toml: the environment 'default' has the platform linux-64")
    assert said.endswith("run 'pixi lock' and commit pixi.lock")
    assert "p1" not in said


REQUIRED = '[workspace]\nplatforms = ["linux-64"]\n[system-requirements]\ncuda = "12"\nlibc = "2.31"\n'


def test_what_system_requirements_ask_for_is_found_under_its_alias() -> None:
    choice = choose({"p1": ("__cuda=12.0", "__glibc=2.31", "__linux=4.18")}, manifest=REQUIRED)
    assert (choice.platform.name, choice.platform.cuda, choice.platform.glibc) == ("linux-64", "12.0", "2.31")
    assert choice.note == ""
    with pytest.raises(EnvironmentFileError, match=r"does not match .* linux-64 \(CUDA 12\) .* locked for linux-64; run"):
        choose(BARE, manifest=REQUIRED)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_lock_file_that_lists_no_virtual_packages_leaves_them_to_the_manifest(version: int) -> None:
    choice = choose({"linux-64": ()}, manifest=REQUIRED, version=version)
    assert (choice.platform.cuda, choice.platform.glibc) == ("12", "2.31")
    choice = choose({"linux-64": ()}, version=version, cuda="12.9")
    assert (choice.platform.name, choice.platform.cuda, choice.row.key) == ("linux-64-cuda", "12.9", "linux-64")


def test_defaults_of_another_version_of_pixi_are_passed_over() -> None:
    rows = {"linux-64": ("__linux=5.10", "__glibc=2.34"), "p1": ("__cuda=12.9", "__linux=5.10", "__glibc=2.34")}
    assert choose(rows, cuda="12.9").row.key == "p1"
    manifest = BOTH.replace('cuda = "12.9"', 'cuda = "12.9", glibc = "2.28"')
    with pytest.raises(EnvironmentFileError, match="does not match"):
        choose(rows, manifest=manifest)


def test_the_lock_files_word_on_a_platform_counts_none_included() -> None:
    manifest = '[workspace]\nplatforms = ["linux-64"]\n'
    assert choose({"linux-64": ("__unix=0=0", "__glibc=2.34")}, manifest=manifest).platform.glibc == "2.34"
    assert choose(BARE, manifest=manifest).platform.cuda == ""


def test_platforms_that_differ_in_all_but_cuda_are_told_apart() -> None:
    manifest = '[workspace]\nplatforms = [{ name = "a", platform = "linux-64", cuda = "12", archspec = "x86_64_v2" },\n'
    manifest += '{ name = "b", platform = "linux-64", cuda = { driver = "12", arch = "8.6" } }, "linux-64"]\n'
    rows = {
        "p1": ("__cuda=12", "__archspec=0=x86_64_v2"),
        "p2": ("__cuda=12.0=0", "__cuda_arch=8.6=0", "__archspec=0=x86_64"),
        "linux-64": (),
    }
    choice = choose(rows, manifest=manifest, platform="b")
    assert (choice.row.key, choice.platform.cuda_arch, choice.platform.archspec) == ("p2", "8.6", "")
    assert dict(choice.named) == {"p1": "a", "p2": "b"}
    assert choose(rows, manifest=manifest, cuda="12.4").platform.name == "a"


@pytest.mark.parametrize("rows", [{**BARE, **CUDA}, {"p1": ("__cuda=12", "__cuda_arch=8.6", "__archspec=0=x86_64_v3")}])
def test_py_rattler_reads_the_same_of_these_lock_files(tmp_path: Path, rows: Mapping[str, tuple[str, ...]]) -> None:
    text = lock_of(rows)
    (tmp_path / "pixi.lock").write_text(text)
    found = LockFile.from_path(tmp_path / "pixi.lock").environment("default")
    assert found is not None
    theirs = {one.name: (str(one.subdir), tuple(one.virtual_packages)) for one in found.platforms()}
    ours = read_lock(text).rows("default")
    assert {row.key: row.subdir for row in ours} == {key: subdir for key, (subdir, _) in theirs.items()}
    for row in ours:
        assert {f"{name}={version}" for name, version in (row.listed or {}).items()} == set(theirs[row.key][1])


def test_a_derived_name_leaves_out_what_every_machine_promises() -> None:
    assert derived_name(Platform(name="", subdir="linux-64", glibc="2.28", archspec="x86_64")) == "linux-64"
