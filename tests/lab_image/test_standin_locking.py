"""Lock files of every version are read, and held against the manifest as ``--locked`` asks."""

from pathlib import Path

import pytest
import yaml
from rattler.lock import LockFile

from tests.lab_image.conftest import EXAMPLE, Workspace


def _version_5(text: str) -> str:
    """Write the example's lock file as version 5: fields instead of what the file name says."""
    lock = yaml.safe_load(text)
    packages = []
    for entry in lock["packages"]:
        url = entry.pop("conda")
        name, version, build = url.rpartition("/")[2].removesuffix(".tar.bz2").rsplit("-", 2)
        fields = {"kind": "conda", "name": name, "version": version, "build": build, "subdir": "noarch", "noarch": "generic"}
        packages.append({**fields, "url": url, **entry})
    return yaml.safe_dump({**lock, "version": 5, "packages": packages}, sort_keys=False)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_lock_files_of_every_version_install(workspace: Workspace, version: int) -> None:
    lock = workspace.root / "pixi.lock"
    if version == 5:
        lock.write_text(_version_5(lock.read_text()))
    elif version == 7:
        LockFile.from_path(lock).to_path(lock)
    assert lock.read_text().startswith(f"version: {version}\n")
    done = workspace.pixi("install", "--locked", "-e", "gpu", environ={"CONDA_OVERRIDE_CUDA": "12"})
    assert done.code == 0, done.err
    assert (workspace.prefix("gpu") / "bin/hpcdeploy-demo").is_file()


def test_a_lock_file_of_a_later_version_is_refused(workspace: Workspace) -> None:
    workspace.rewrite("pixi.lock", "version: 6", "version: 99")
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "99" in done.err


def test_a_missing_lock_file_is_an_error(workspace: Workspace) -> None:
    (workspace.root / "pixi.lock").unlink()
    done = workspace.pixi("install", "--frozen")
    assert done.code == 1
    assert "there is no lock file" in done.err


MISMATCHES = {
    "a version that is not locked": ('">=1.2,<2"', '">=2"', "satisfies the dependency 'hpcdeploy-demo-runtime >=2'"),
    "a dependency that is not locked": ("[dependencies]\n", '[dependencies]\nzlib = "*"\n', "'zlib *'"),
    "a PyPI dependency that is not locked": ("[tasks]\n", '[pypi-dependencies]\nrich = "*"\n[tasks]\n', "'rich'"),
    "a platform that is not locked": ('["linux-64"]', '["linux-64", "osx-arm64"]', "osx-arm64"),
    "another channel": ('hpcdeploy-demo"]', 'hpcdeploy-demo", "conda-forge"]', "conda-forge"),
    "an environment that is not locked": ('gpu = ["gpu"]', 'gpu = ["gpu"]\nbig = ["gpu"]', "'big': not in the lock file"),
}


@pytest.mark.parametrize("change", MISMATCHES.values(), ids=MISMATCHES)
def test_a_manifest_that_the_lock_file_does_not_fit_is_refused(workspace: Workspace, change: tuple[str, str, str]) -> None:
    old, new, said = change
    workspace.rewrite("pixi.toml", old, new)
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "lock-file not up-to-date with the workspace" in done.err
    assert said in done.err
    assert not workspace.prefix("default").exists()


def test_a_locked_package_whose_dependency_is_gone_is_refused(workspace: Workspace) -> None:
    lines = (workspace.root / "pixi.lock").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not (line.startswith("      - conda") and "activation" in line)]
    (workspace.root / "pixi.lock").write_text("".join(kept))
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "which hpcdeploy-demo-runtime needs" in done.err


def test_frozen_does_not_look_at_the_manifest(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", '">=1.2,<2"', '">=2"')
    assert workspace.pixi("install", "--frozen").code == 0


def test_without_a_flag_a_mismatch_would_need_a_solver(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", '">=1.2,<2"', '">=2"')
    done = workspace.pixi("install")
    assert done.code == 2
    assert "stand-in" in done.err
    assert "solved again" in done.err


def test_the_environment_variables_say_the_same_as_the_flags(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", '">=1.2,<2"', '">=2"')
    assert workspace.pixi("install", environ={"PIXI_LOCKED": "true"}).code == 1
    assert workspace.pixi("install", environ={"PIXI_FROZEN": "true"}).code == 0


def test_the_manifest_may_be_a_pyproject(workspace: Workspace, tmp_path: Path) -> None:
    text = (EXAMPLE / "pixi.toml").read_text()
    nested = "\n".join(f"[tool.pixi.{line[1:]}" if line.startswith("[") else line for line in text.splitlines())
    (workspace.root / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "2.5"\n{nested}')
    (workspace.root / "pixi.toml").unlink()
    done = workspace.pixi("install", "--locked")
    assert done.code == 0, done.err
