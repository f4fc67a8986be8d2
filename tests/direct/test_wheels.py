"""Locked wheels are checked and unpacked as in the image, without running the environment's Python."""

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hpcdeploy.direct.wheels import Wheel, fetch, install, refusal
from hpcdeploy.errors import BuildError
from hpcdeploy_lab import wheel


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / wheel.FILE).write_bytes(wheel.build())
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{wheel.FILE}"
        server.shutdown()


def locked(url: str, sha256: str = "") -> Wheel:
    return Wheel(name=wheel.NAME, url=url, sha256=sha256 or hashlib.sha256(wheel.build()).hexdigest())


def test_a_wheel_is_downloaded_once_and_installed_with_the_images_interpreter(index: str, tmp_path: Path) -> None:
    cache, prefix = tmp_path / "cache", tmp_path / "prefix"
    file = fetch(locked(index), cache)
    (tmp_path / "index" / wheel.FILE).unlink()
    assert fetch(locked(index), cache) == file
    install([file], prefix, "3.13", "/app/.pixi/envs/default/bin/python")
    script = next((prefix / "bin").iterdir())
    assert script.read_text().startswith("#!/app/.pixi/envs/default/bin/python\n")
    [record] = prefix.glob("lib/python3.13/site-packages/*.dist-info/RECORD")
    assert f"../../../bin/{script.name},sha256=" in record.read_text()


def test_a_wheel_with_another_checksum_is_refused_and_leaves_no_file(index: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="Hash mismatch for"):
        fetch(locked(index, "0" * 64), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".lock"]


def test_a_missing_wheel_is_one_message(index: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be downloaded from 127\.0\.0\.1"):
        fetch(locked(index.replace(wheel.FILE, "none.whl")), tmp_path / "cache")


def test_a_wheel_replaces_a_file_of_a_package_but_not_the_cache_behind_it(tmp_path: Path) -> None:
    file = tmp_path / wheel.FILE
    file.write_bytes(wheel.build())
    with zipfile.ZipFile(file) as archive:
        module = next(name for name in archive.namelist() if name.endswith(".py"))
    cached, target = tmp_path / "cached", tmp_path / "prefix/lib/python3.13/site-packages" / module
    cached.write_text("the package's file\n")
    target.parent.mkdir(parents=True)
    target.hardlink_to(cached)
    install([file], tmp_path / "prefix", "3.13", "/app/python")
    assert cached.read_text() == "the package's file\n"
    assert target.read_text() != "the package's file\n"


def test_a_link_out_of_the_environment_is_refused(tmp_path: Path) -> None:
    file, prefix = tmp_path / wheel.FILE, tmp_path / "prefix"
    file.write_bytes(wheel.build())
    (prefix / "lib").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (prefix / "lib/python3.13").symlink_to(tmp_path / "outside")
    with pytest.raises(BuildError, match="link out of it"):
        install([file], prefix, "3.13", "/app/python")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "sha256", "reason"),
    [
        ("https://example.org/a-1.tar.gz", "0" * 64, "must be built from source"),
        ("git+https://example.org/a", "0" * 64, "must be built from source"),
        ("https://example.org/a-1-py3-none-any.whl", "", "no sha256"),
        ("https://example.org/a-1-py3-none-any.whl", "0" * 64, ""),
    ],
)
def test_what_only_a_build_can_install_is_named(url: str, sha256: str, reason: str) -> None:
    told = refusal(Wheel(name="a", url=url, sha256=sha256))
    assert (reason in told) if reason else not told


def test_a_member_that_leads_out_of_the_environment_is_refused_before_anything_is_removed(tmp_path: Path) -> None:
    prefix, victim = tmp_path / "a/b/prefix", tmp_path / "victim"
    victim.write_text("mine")
    (prefix / "lib/python3.13/site-packages").mkdir(parents=True)
    file = tmp_path / "evil-1.0-py3-none-any.whl"
    info = "evil-1.0.dist-info"
    members = {
        "evil-1.0.data/data/../../../../victim": "theirs",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*members, f"{info}/RECORD"))
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {**members, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    with pytest.raises(BuildError, match="cannot be installed"):
        install([file], prefix, "3.13", "/app/python")
    assert victim.read_text() == "mine"
