"""What a Spack environment names above the project: taken from the git work tree, and laid out in the image as here."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.environments.spack import read_environment
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.inspect.spack import inspect_spack
from hpcdeploy.flows.sources.spack_files import find_files
from hpcdeploy.image import Definition, ImageSettings
from hpcdeploy.ownership import objection, trusted_users
from hpcdeploy.source import SpackSource
from tests.builds.test_spack_source import lock, write

INCLUDING = "spack:\n  specs: [hdf5]\n  include: [../../_config/packages.yaml]\n"
TARGET = "packages: {all: {require: [target=zen4]}}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a git work tree."""
    top = tmp_path / "repository"
    top.mkdir()
    subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True)
    return top


def make(project: Path, environment: str = ".") -> Definition:
    return generate(ImageSettings(name="x", source=SpackSource(environment=environment)), project)


def staged(definition: Definition) -> list[str]:
    return sorted(file.staged.removeprefix("image/opt/spack-environment/") for file in definition.files)


@pytest.mark.parametrize(("project", "environment"), [("stacks/gpu", "."), (".", "stacks/gpu"), ("stacks", "gpu")])
def test_files_up_to_the_root_of_the_work_tree_come_along_and_the_tree_is_made_deep_enough(
    tree: Path, project: str, environment: str
) -> None:
    write(tree, {"stacks/gpu/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET, "other/x.yaml": ""})
    definition = make(tree / project, environment)
    assert staged(definition) == ["_config/packages.yaml", "stacks/gpu/spack.yaml"]
    assert "all packages are compiled for zen4" in definition.notes[0]
    said = "../../_config/packages.yaml: read from above the project's folder, in its git work tree"
    assert (said in definition.notes) == (project != ".")
    build, final = read_definition(definition.text)
    assert "-e /opt/spack-environment/stacks/gpu " in build.section("post")
    assert '[ "$SPACK_ENV" != /opt/spack-environment/stacks/gpu ]' in final.section("test")


@pytest.mark.parametrize(
    "names",
    [
        ["../../_config/packages.yaml"],
        ["../../../site.yaml", "own.yaml", "../beside.yaml"],
        ["../spack/x.yaml"],
        ["../view"],
        ["../../c"],
    ],
)
def test_what_an_environment_names_lies_in_the_image_where_its_path_leads(tree: Path, names: list[str]) -> None:
    """The right place is computed here by itself: from the environment's place in the image, along the path."""
    files = {"s/t/u/spack.yaml": f"spack:\n  include: {names}\n"}
    for name in names:
        path = PurePosixPath(os.path.normpath(f"s/t/u/{name}"))
        files[str(path if path.suffix else path / "config.yaml")] = "config: {}\n"
    definition = make(write(tree, files) / "s/t/u")
    [manifest] = [file.staged for file in definition.files if file.staged.endswith("/spack.yaml")]
    place = manifest.removeprefix("image").removesuffix("/spack.yaml")
    assert f"-e {place} " in definition.text
    for name in names:
        expected = os.path.normpath(f"{place}/{name}")
        assert expected.startswith("/opt/"), "the final stage takes what is in /opt/spack-environment"
        assert any(file.staged.removeprefix("image").startswith(expected) for file in definition.files)


def test_repositories_and_sources_above_the_project_come_along_too(tree: Path) -> None:
    text = "spack:\n  repos: [../../repo]\n  develop: {mine: {spec: mine@main, path: ../../src}}\n"
    files = {"a/b/spack.yaml": text, "repo/repo.yaml": "repo: {namespace: r}\n", "src/x.c": "", ".git/hidden": ""}
    assert staged(make(write(tree, files) / "a/b")) == ["a/b/spack.yaml", "repo/repo.yaml", "src/x.c"]


def test_a_project_that_is_reached_by_a_link_is_the_same(tree: Path) -> None:
    write(tree, {"stacks/gpu/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    link = tree.parent / "link"
    link.symlink_to(tree / "stacks/gpu")
    assert staged(make(link)) == ["_config/packages.yaml", "stacks/gpu/spack.yaml"]
    assert inspect_spack(link).targets == ("zen4",)


def test_a_link_to_a_file_of_the_work_tree_is_followed(tree: Path) -> None:
    write(tree, {"a/b/spack.yaml": "spack:\n  include: [packages.yaml]\n", "_config/packages.yaml": TARGET})
    (tree / "a/b/packages.yaml").symlink_to("../../_config/packages.yaml")
    definition = make(tree / "a/b")
    assert staged(definition) == ["packages.yaml", "spack.yaml"]
    assert "for zen4" in definition.notes[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"spack.yaml": "spack: {include: [../../../x.yaml]}"},
            "above it only files in the git work tree .* can be used",
        ),
        ({"spack.yaml": "spack: {include: [../../.git/config]}"}, "in git's own folder: a project cannot use files there"),
        ({"spack.yaml": "spack: {repos: [../../.git]}"}, "in git's own folder: a project cannot use files there"),
    ],
)
def test_what_is_not_of_the_work_tree_is_refused(tree: Path, files: Mapping[str, str], words: str) -> None:
    (tree.parent / "x.yaml").write_text("")
    with pytest.raises(EnvironmentFileError, match=words):
        make(write(tree / "a/b", files))


def test_a_repository_cannot_call_another_folder_its_work_tree(tree: Path) -> None:
    write(tree, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    shutil.rmtree(tree / ".git")
    subprocess.run(["git", "init", "-q", str(tree / "a/b")], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(tree / "a/b"), "config", "core.worktree", str(tree)], check=True)
    with pytest.raises(EnvironmentFileError, match="git finds none here; copy the file into the project"):
        make(tree / "a/b")


def test_outside_of_a_work_tree_nothing_above_the_project_is_taken(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    with pytest.raises(EnvironmentFileError, match="git finds none here; copy the file into the project"):
        make(tmp_path / "a/b")


@pytest.mark.parametrize("given", ["_config/packages.yaml", "_config"])
def test_a_file_of_somebody_else_s_is_refused_with_its_owner(
    tree: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    folder, me = tree / "a/b", os.geteuid()
    if me == 0:  # only root can change an owner; other users act as another user here
        os.chown(tree / given, 12345, -1)
    else:
        monkeypatch.setattr("hpcdeploy.boundary.trusted_users", lambda _: frozenset({me + 1, 0}))
    with pytest.raises(
        EnvironmentFileError, match=r"/_config\S* belongs to .*user id \d+.*, (neither to you nor|not) to root"
    ):
        find_files(".", read_environment(INCLUDING), Boundary(folder))


@pytest.mark.parametrize("given", ["_config/packages.yaml", "_config"])
@pytest.mark.parametrize(("mode", "who"), [(0o002, "everybody"), (0o020, r"the group id \d+")])
def test_a_file_that_others_may_write_is_refused_with_its_owner(tree: Path, given: str, mode: int, who: str) -> None:
    write(tree, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    boundary = Boundary(tree / "a/b")
    find_files(".", read_environment(INCLUDING), boundary)
    if os.geteuid() == 0:
        os.chown(tree / given, -1, 12345)
    (tree / given).chmod((tree / given).stat().st_mode | mode)
    if not objection(tree / given, trusted_users({})):  # the caller's own group, which has no other member
        find_files(".", read_environment(INCLUDING), boundary)
        return
    with pytest.raises(EnvironmentFileError, match=rf"_config\S* may be written by {who}.*'chmod go-w"):
        find_files(".", read_environment(INCLUDING), boundary)


def test_a_folder_with_the_sticky_bit_may_be_everybodys(tree: Path) -> None:
    write(tree, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    (tree / "_config").chmod(0o1777)
    find_files(".", read_environment(INCLUDING), Boundary(tree / "a/b"))


def test_what_is_included_under_a_condition_is_shipped_and_said(tree: Path) -> None:
    """As Spack's own stacks have it: ``.ci/gitlab/include.yaml`` of spack/spack-packages includes by platform."""
    include = """
include:
- {path: configs/arm, when: env.get("TARGET") == "arm"}
- {path: configs/mac, when: platform == "darwin"}
- {path: configs/x86, when: platform == "linux"}
"""
    files = {
        "a/b/spack.yaml": "spack:\n  include: [../../ci]\n",
        "ci/include.yaml": include,
        "ci/configs/arm/packages.yaml": "packages: {all: {require: [target=m1]}}\nview: false\n",
        "ci/configs/mac/packages.yaml": "packages: {all: {target: [m2]}}\n",
        "ci/configs/x86/packages.yaml": TARGET,
    }
    definition = make(write(tree, files) / "a/b")
    assert "all packages are compiled for zen4 (spack.yaml: packages.all.require);" in definition.notes[0]
    assert "env view enable /opt/view" in definition.text
    assert [
        note
        for note in definition.notes
        if note.startswith('files that are included only when env.get("TARGET") == "arm": hpc')
    ]
    assert "ci/configs/arm/packages.yaml" in staged(definition)


def test_the_lock_file_of_another_environment_comes_along_with_its_manifest(tree: Path) -> None:
    files = {
        "a/gpu/spack.yaml": "spack:\n  include: [../../base/spack.lock]\n",
        "base/spack.yaml": "spack:\n  include: [own.yaml]\n  packages: {all: {require: target=zen5}}\n",
        "base/own.yaml": "view: false\n",
        "base/spack.lock": lock("zlib"),
    }
    definition = make(write(tree, files) / "a/gpu")
    assert staged(definition) == ["a/gpu/spack.yaml", "base/own.yaml", "base/spack.lock", "base/spack.yaml"]
    assert "all packages are compiled for x86_64_v3" in definition.notes[0]
    assert "../../base/spack.lock: its locked packages are installed too, for zen3" in definition.notes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"target": "zen3"', '"target": "neoverse_v2"', r"base/spack\.lock has the microarchitecture 'neoverse_v2', but"),
        (
            '"arch": {',
            '"arch": {"platform": "darwin", ',
            r"base/spack\.lock is for darwin, but an image needs packages for linux",
        ),
    ],
)
def test_the_lock_file_of_another_environment_must_be_for_the_image(tree: Path, old: str, new: str, message: str) -> None:
    files = {
        "a/gpu/spack.yaml": "spack:\n  include: [../../base/spack.lock]\n",
        "base/spack.yaml": "spack: {}\n",
        "base/spack.lock": lock("zlib").replace(old, new),
    }
    with pytest.raises(EnvironmentFileError, match=message):
        make(write(tree, files) / "a/gpu")


def test_inspect_reads_the_same_files_as_the_build(tree: Path) -> None:
    write(tree, {"a/b/spack.yaml": INCLUDING, "_config/packages.yaml": TARGET})
    assert inspect_spack(tree / "a/b").targets == ("zen4",)
    (tree / "_config/packages.yaml").write_text("definitions: [{more: [zlib, '%gcc']}]\n")
    (tree / "a/b/spack.yaml").write_text(INCLUDING.replace("[hdf5]", "[{matrix: [[hdf5@develop, root], ['%gcc']]}, $more]"))
    report = inspect_spack(tree / "a/b")
    assert [(item.name, item.build) for item in report.items] == [
        ("%gcc", "%gcc"),
        ("hdf5", "hdf5@develop %gcc"),
        ("root", "root %gcc"),
        ("zlib", "zlib"),
    ]
    assert any("other sources: hdf5@develop" in note for note in report.notes)
