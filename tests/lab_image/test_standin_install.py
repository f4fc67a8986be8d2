"""The stand-in installs what is locked, as pixi does, and nothing that does not fit."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hpcdeploy_lab import channel
from tests.lab_image.conftest import Workspace


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(workspace: Workspace) -> Iterator[str]:
    """The channel over HTTP on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(workspace.channel))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_locked_environment_is_installed(gpu: Workspace) -> None:
    prefix = gpu.prefix("gpu")
    assert (prefix / "share/hpcdeploy-demo/version.txt").read_text() == "1.2.0\n"
    assert f'prefix="{prefix}"' in (prefix / "bin/hpcdeploy-demo").read_text()
    assert sorted(path.stem for path in (prefix / "conda-meta").glob("*.json")) == [
        "hpcdeploy-demo-activation-1.0.0-0",
        "hpcdeploy-demo-cuda-12.9.0-0",
        "hpcdeploy-demo-runtime-1.2.0-0",
    ]


def test_the_record_names_the_channel_and_not_the_mirror(gpu: Workspace) -> None:
    for path in (gpu.prefix("gpu") / "conda-meta").glob("*.json"):
        text = path.read_text()
        assert json.loads(text)["url"].startswith(f"{channel.URL}/noarch/")
        assert "file://" not in text


def test_the_files_that_pixi_run_needs_are_written(gpu: Workspace) -> None:
    assert (gpu.root / ".pixi/.gitignore").read_text() == "*\n!config.toml\n"
    assert (gpu.root / ".pixi/.condapackageignore").read_text() == ".pixi\n!.pixi/config.toml\n"
    mark = json.loads((gpu.prefix("gpu") / "conda-meta/pixi").read_text())
    assert mark["environment_name"] == "gpu"
    assert mark["manifest_path"] == str(gpu.root / "pixi.toml")
    assert "stand-in" in mark["pixi_version"]


def test_nothing_is_left_in_the_home_folder(gpu: Workspace) -> None:
    assert list(gpu.home.iterdir()) == []


def test_installing_again_changes_nothing(gpu: Workspace) -> None:
    before = (gpu.prefix("gpu") / "conda-meta/pixi").stat().st_mtime_ns
    (gpu.channel / "noarch").rename(gpu.channel / "gone")
    assert gpu.pixi("install", "--locked", "-e", "gpu").code == 0
    assert (gpu.prefix("gpu") / "conda-meta/pixi").stat().st_mtime_ns == before


def test_what_is_no_longer_locked_is_removed(gpu: Workspace) -> None:
    line = f"      - conda: {channel.URL}/noarch/hpcdeploy-demo-cuda-12.9.0-0.tar.bz2\n"
    gpu.rewrite("pixi.lock", line, "")
    done = gpu.pixi("install", "--frozen", "-e", "gpu")
    assert done.code == 0, done.err
    assert not (gpu.prefix("gpu") / "share/hpcdeploy-demo/cuda.txt").exists()
    assert (gpu.prefix("gpu") / "bin/hpcdeploy-demo").exists()


def test_all_environments_can_be_installed_at_once(workspace: Workspace) -> None:
    done = workspace.pixi("install", "--all", "--locked", environ={"CONDA_OVERRIDE_CUDA": "12.9"})
    assert done.code == 0, done.err
    assert workspace.prefix("default").is_dir()
    assert workspace.prefix("gpu").is_dir()
    assert not (workspace.prefix("default") / "share/hpcdeploy-demo/cuda.txt").exists()


@pytest.mark.parametrize("override", [{}, {"CONDA_OVERRIDE_CUDA": ""}, {"CONDA_OVERRIDE_CUDA": "11.8"}])
def test_cuda_is_asked_for_without_a_driver(workspace: Workspace, override: dict[str, str]) -> None:
    done = workspace.pixi("install", "--locked", "-e", "gpu", environ=override)
    assert done.code == 1
    assert "Virtual package '__cuda >=12'" in done.err
    assert "CONDA_OVERRIDE_CUDA" in done.err
    assert not workspace.prefix("gpu").exists()


def test_a_package_alone_can_ask_for_cuda(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", 'cuda = "12"', "")
    done = workspace.pixi("install", "--locked", "-e", "gpu")
    assert done.code == 1
    assert "which hpcdeploy-demo-cuda asks for" in done.err


def test_an_environment_without_cuda_needs_no_driver(workspace: Workspace) -> None:
    assert workspace.pixi("install", "--locked").code == 0


def test_a_tampered_package_in_a_folder_is_refused(workspace: Workspace) -> None:
    package = workspace.channel / "noarch" / "hpcdeploy-demo-runtime-1.2.0-0.tar.bz2"
    package.write_bytes(channel.build(channel.PACKAGES[0]))
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "sha256" in done.err
    assert not (workspace.prefix("default") / "conda-meta").exists()


def test_a_tampered_package_from_a_server_is_refused(workspace: Workspace, served: str) -> None:
    workspace.mirror(served)
    package = workspace.channel / "noarch" / "hpcdeploy-demo-runtime-1.2.0-0.tar.bz2"
    package.write_bytes(channel.build(channel.PACKAGES[0]))
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert not (workspace.prefix("default") / "bin/hpcdeploy-demo").exists()


def test_a_mirror_may_be_a_server(workspace: Workspace, served: str) -> None:
    workspace.mirror(served)
    done = workspace.pixi("install", "--locked")
    assert done.code == 0, done.err
    record = json.loads((workspace.prefix("default") / "conda-meta/hpcdeploy-demo-runtime-1.2.0-0.json").read_text())
    assert record["url"] == f"{channel.URL}/noarch/hpcdeploy-demo-runtime-1.2.0-0.tar.bz2"


def test_a_mirror_of_a_whole_host_holds_for_its_channels(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    workspace.channel.rename(tmp_path / "hosts" / "hpcdeploy-demo")
    address = channel.URL.removesuffix("/hpcdeploy-demo")
    (workspace.root / ".pixi/config.toml").write_text(f'[mirrors]\n"{address}" = ["{(tmp_path / "hosts").as_uri()}"]\n')
    done = workspace.pixi("install", "--locked")
    assert done.code == 0, done.err


def test_a_package_that_no_mirror_holds_is_missed_by_name(workspace: Workspace) -> None:
    (workspace.channel / "noarch" / "hpcdeploy-demo-runtime-1.2.0-0.tar.bz2").unlink()
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "hpcdeploy-demo-runtime-1.2.0-0.tar.bz2 is not in any mirror" in done.err
