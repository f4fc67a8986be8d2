"""The stand-in installs locked wheels after a look at their checksums, and pure Python packages of the workspace."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from hpcdeploy_lab import wheel
from tests.lab_image.conftest import Workspace

ADDRESS = f"{wheel.SITE}/{wheel.FILE}"
SHA = hashlib.sha256(wheel.build()).hexdigest()
MINE = '[project]\nname = "my-part"\nversion = "0.3.0"\n[project.scripts]\nmy-part = "my_part:main"\n'


def add(workspace: Workspace, *entries: str) -> None:
    """Let the default environment hold more: the lines of a package, the first its address."""
    for entry in entries:
        first, *rest = entry.splitlines()
        workspace.rewrite("pixi.lock", "  gpu:\n", f"      - {first}\n  gpu:\n")
        text = (workspace.root / "pixi.lock").read_text()
        (workspace.root / "pixi.lock").write_text(f"{text}- {first}\n" + "".join(f"  {line}\n" for line in rest))


@pytest.fixture
def pypi(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The workspace with the lab's wheel in its default environment, and a folder that has it."""
    workspace.rewrite("pixi.toml", "[tasks]\n", f'[pypi-dependencies]\n{wheel.NAME} = "*"\n[tasks]\n')
    add(workspace, f"pypi: {ADDRESS}\nname: {wheel.NAME}\nversion: {wheel.VERSION}\nsha256: {SHA}")
    # The same in the other environment, the last: it is made of all that the default one is.
    workspace.rewrite("pixi.lock", "packages:\n- conda", f"      - pypi: {ADDRESS}\npackages:\n- conda")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / wheel.FILE).write_bytes(wheel.build())
    with (workspace.root / ".pixi/config.toml").open("a") as file:
        file.write(f'"{wheel.SITE}" = ["{(tmp_path / "wheels").as_uri()}"]\n')
    return workspace


def test_a_locked_wheel_is_installed_and_its_program_runs(pypi: Workspace) -> None:
    done = pypi.pixi("install", "--locked")
    assert done.code == 0, done.err
    link = pypi.prefix("default") / "bin/python"
    assert link.is_symlink()
    script = (pypi.prefix("default") / "bin" / wheel.NAME).read_text()
    assert script.startswith(f"#!{link}\n")
    python = [str(link), "-c", "import hpcdeploy_demo_wheel as it; it.main(); print(it.__file__)"]
    out = subprocess.run(python, capture_output=True, text=True, check=True, env={}).stdout.splitlines()
    assert out[0] == f"{wheel.NAME} {wheel.VERSION}"
    assert out[1].startswith(str(pypi.prefix("default")))
    listed = json.loads(pypi.pixi("list", "--json").out)
    [found] = [package for package in listed if package["kind"] == "pypi"]
    assert (found["name"], found["sha256"], found["source"]) == (wheel.NAME, SHA, ADDRESS)


def test_a_wheel_with_another_checksum_is_refused_and_nothing_is_installed(pypi: Workspace) -> None:
    pypi.rewrite("pixi.lock", SHA, "0" * 64)
    done = pypi.pixi("install", "--locked")
    assert done.code == 1
    assert f"Hash mismatch for `{wheel.NAME}`: expected sha256:{'0' * 64}, computed sha256:{SHA}" in done.err
    assert not pypi.prefix("default").exists()


def test_a_wheel_that_is_no_longer_locked_is_removed(pypi: Workspace) -> None:
    assert pypi.pixi("install", "--locked").code == 0
    pypi.rewrite("pixi.lock", f"      - pypi: {ADDRESS}\n", "")
    assert pypi.pixi("install", "--frozen").code == 0
    assert not list(pypi.prefix("default").glob("lib/*/site-packages/hpcdeploy_demo_wheel*.py"))
    assert not (pypi.prefix("default") / "bin" / wheel.NAME).exists()


def test_packages_of_an_index_that_no_folder_stands_for_are_refused(workspace: Workspace) -> None:
    add(workspace, f"pypi: https://files.example.org/x-1-py3-none-any.whl\nname: x\nversion: '1'\nsha256: {'0' * 64}")
    done = workspace.pixi("install", "--frozen")
    assert done.code == 2
    assert "'x' comes from https://files.example.org" in done.err
    assert not workspace.prefix("default").exists()


@pytest.mark.parametrize("editable", [True, False])
@pytest.mark.parametrize("layout", ["src/my_part/__init__.py", "my_part.py"])
def test_a_package_of_the_workspace_is_installed(workspace: Workspace, editable: bool, layout: str) -> None:
    source = workspace.root / "parts" / layout
    source.parent.mkdir(parents=True)
    source.write_text('def main():\n    print("first")\n')
    (workspace.root / "parts/pyproject.toml").write_text(MINE)
    wanted = f'{{ path = "./parts", editable = {str(editable).lower()} }}'
    workspace.rewrite("pixi.toml", "[tasks]\n", f"[pypi-dependencies]\nmy-part = {wanted}\n[tasks]\n")
    add(workspace, "pypi: ./parts\nname: my-part\nversion: 0.3.0")
    done = workspace.pixi("install", "--frozen")
    assert done.code == 0, done.err
    python = [str(workspace.prefix("default") / "bin/python"), "-B", "-c", "import my_part; my_part.main()"]
    assert subprocess.run(python, capture_output=True, text=True, check=True, env={}).stdout == "first\n"
    source.write_text('def main():\n    print("second")\n')
    expected = "second\n" if editable else "first\n"
    assert subprocess.run(python, capture_output=True, text=True, check=True, env={}).stdout == expected


def test_a_folder_that_needs_a_build_backend_is_refused(workspace: Workspace) -> None:
    (workspace.root / "parts").mkdir()
    add(workspace, "pypi: ./parts\nname: my-part\nversion: 0.3.0")
    done = workspace.pixi("install", "--frozen")
    assert done.code == 2
    assert "the real pixi is needed" in done.err


def test_the_wheel_is_whole_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    assert wheel.build() == wheel.build()
    (tmp_path / wheel.FILE).write_bytes(wheel.build())
    with zipfile.ZipFile(tmp_path / wheel.FILE) as archive:
        assert archive.testzip() is None
        recorded = {line.split(b",")[0].decode() for line in archive.read(archive.namelist()[1]).splitlines()}
        assert recorded == set(archive.namelist())
        assert archive.namelist() == sorted(archive.namelist())
