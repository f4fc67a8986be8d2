"""The channel's packages are the same bytes wherever they are made."""

import bz2
import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

from hpcdeploy_lab import channel
from tests.lab_image.conftest import EXAMPLE

LOCK = yaml.safe_load((EXAMPLE / "pixi.lock").read_text())
MADE = {f"{channel.URL}/{channel.SUBDIR}/{package.file_name}": package for package in channel.PACKAGES}


@pytest.mark.parametrize("entry", LOCK["packages"], ids=lambda entry: str(entry["conda"]).rpartition("/")[2])
def test_every_locked_package_is_made_byte_for_byte(entry: dict[str, object]) -> None:
    package = MADE[str(entry["conda"])]
    found = channel.checksums(channel.build(package))
    assert found == {key: entry[key] for key in ("md5", "sha256", "size")}
    assert list(package.depends) == entry.get("depends", [])


def test_the_lock_file_names_every_package_and_no_other() -> None:
    assert {entry["conda"] for entry in LOCK["packages"]} == set(MADE)


def test_the_index_says_what_the_packages_are(tmp_path: Path) -> None:
    channel.write(tmp_path)
    index = json.loads((tmp_path / "noarch" / "repodata.json").read_text())["packages"]
    assert set(index) == {package.file_name for package in channel.PACKAGES}
    for name, entry in index.items():
        data = (tmp_path / "noarch" / name).read_bytes()
        assert channel.checksums(data).items() <= entry.items()
        with tarfile.open(fileobj=io.BytesIO(bz2.decompress(data))) as archive:
            packed = archive.extractfile("info/index.json")
            assert packed is not None
            assert json.load(packed).items() <= entry.items()
    assert json.loads((tmp_path / "linux-64" / "repodata.json").read_text())["packages"] == {}


def test_members_are_sorted_and_say_nothing_of_who_made_them_and_when() -> None:
    for package in channel.PACKAGES:
        with tarfile.open(fileobj=io.BytesIO(bz2.decompress(channel.build(package)))) as archive:
            members = archive.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
        assert {int(member.mtime) for member in members} == {channel.TIMESTAMP // 1000}


def test_nothing_pretends_to_be_an_interpreter() -> None:
    names = {Path(path).name for package in channel.PACKAGES for path in package.files if path.startswith("bin/")}
    assert names == {"hpcdeploy-demo"}
