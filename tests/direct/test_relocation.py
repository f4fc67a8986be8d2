"""An installed environment is read as if it had been installed at its path in the image."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from hpcdeploy.direct.entries import Entry
from hpcdeploy.direct.relocation import Move, RelocatedLayer
from hpcdeploy.errors import BuildError

NEW = b"/app"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "app/.pixi/envs/default"
    (folder / "bin").mkdir(parents=True)
    return folder


def read(prefix: Path, workspace: Path, *, began: float = 0) -> dict[str, tuple[Entry, bytes]]:
    found = {}
    layer = RelocatedLayer(prefix, "app/env", Move(old=os.fsencode(workspace), new=NEW), began=began, time=1)
    for entry in layer.entries():
        content = b""
        if entry.content is not None:
            with entry.content() as opened:
                content = opened.read()
            assert len(content) == entry.size
        found[entry.path.removeprefix("app/env").strip("/")] = (entry, content)
    return found


def test_text_gets_the_new_path_and_a_binary_file_keeps_its_length(prefix: Path, tmp_path: Path) -> None:
    old = os.fsencode(tmp_path / "app")
    (prefix / "bin/script").write_bytes(b"#!" + old + b"/bin/python\nsee " + old + b"/share\n")
    (prefix / "lib.so").write_bytes(b"\x7fELF\0" + old + b"/lib:" + old + b"/more\0after\0" + b"x" * 10)
    (prefix / "plain").write_bytes(b"nothing here")
    (prefix / "link").symlink_to(tmp_path / "app/elsewhere")
    found = read(prefix, tmp_path / "app")
    assert found["bin/script"][1] == b"#!/app/bin/python\nsee /app/share\n"
    expected = b"/app/lib:/app/more".ljust(2 * len(old) + 10, b"\0")
    assert found["lib.so"][1] == b"\x7fELF\0" + expected + b"\0after\0" + b"x" * 10
    assert found["plain"][1] == b"nothing here"
    assert found["link"][0].target == "/app/elsewhere"


def test_the_records_have_the_checksums_and_sizes_of_the_new_content(prefix: Path, tmp_path: Path) -> None:
    old = os.fsencode(tmp_path / "app")
    content, moved = b"#!" + old + b"/bin/python\n", b"#!/app/bin/python\n"
    (prefix / "bin/script").write_bytes(content)
    (prefix / "conda-meta").mkdir()
    entry = {"_path": "bin/script", "sha256_in_prefix": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}
    record = {"name": "a", "extracted_package_dir": "/home/me/cache", "link": {}, "paths_data": {"paths": [entry]}}
    (prefix / "conda-meta/a-1-0.json").write_text(json.dumps(record))
    info = prefix / "lib/python3.13/site-packages/a-1.dist-info"
    info.mkdir(parents=True)
    lines = f"../../../bin/script,sha256={encoded(content)},{len(content)}\na/__init__.py,sha256=x,3\n"
    (info / "RECORD").write_text(lines)
    found = read(prefix, tmp_path / "app")
    assert json.loads(found["conda-meta/a-1-0.json"][1]) == {
        "name": "a",
        "paths_data": {
            "paths": [
                {
                    "_path": "bin/script",
                    "sha256_in_prefix": hashlib.sha256(moved).hexdigest(),
                    "size_in_bytes": len(moved),
                }
            ]
        },
    }
    written = found["lib/python3.13/site-packages/a-1.dist-info/RECORD"][1].decode()
    assert written == f"../../../bin/script,sha256={encoded(moved)},{len(moved)}\na/__init__.py,sha256=x,3\n"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def test_modes_and_times_depend_on_the_packages_only(prefix: Path, tmp_path: Path) -> None:
    for name, mode, when in (("packaged", 0o600, 1_000_000), ("bin/run", 0o775, 1_000_000), ("installed", 0o664, None)):
        (prefix / name).write_bytes(b"x")
        (prefix / name).chmod(mode)
        if when:
            os.utime(prefix / name, (when, when))
    found = {name: entry for name, (entry, _) in read(prefix, tmp_path / "app", began=time.time() - 60).items()}
    assert {name: (found[name].mode, found[name].mtime) for name in ("packaged", "bin/run", "installed", "bin")} == {
        "packaged": (0o644, 1_000_000), "bin/run": (0o755, 1_000_000), "installed": (0o644, 1), "bin": (0o755, 1),
    }  # fmt: skip


def test_a_longer_path_is_refused(prefix: Path) -> None:
    with pytest.raises(BuildError, match="longer path"):
        RelocatedLayer(prefix, "x", Move(old=b"/a", new=b"/longer"), began=0, time=0)


def test_a_malformed_record_is_refused(prefix: Path, tmp_path: Path) -> None:
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta/a.json").write_text("[1]")
    with pytest.raises(BuildError, match="malformed"):
        read(prefix, tmp_path / "app")


def test_a_path_is_found_wherever_it_is_in_a_large_file(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcdeploy.direct.relocation._BLOCK", 64)
    old = os.fsencode(tmp_path / "app")
    for before in range(60, 70):
        (prefix / str(before)).write_bytes(b"x" * before + old + b"/y\n")
    found = read(prefix, tmp_path / "app")
    assert {name: content for name, (_, content) in found.items() if name.isdigit()} == {
        str(before): b"x" * before + b"/app/y\n" for before in range(60, 70)
    }
