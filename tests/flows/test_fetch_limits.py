"""What a login node cannot make of a fetch: more than it listed. The cluster is this machine, with another tar."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import OverLimitError, SchedulerError
from hpcdeploy.flows.fetch import Fetched, fetch
from hpcdeploy.remote import download
from hpcdeploy.remote.connections import Connections
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of

RUN = run_of(PLAIN)


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fetched]:
    folder = tmp_path / "root" / "runs" / RUN.id
    (folder / "output").mkdir(parents=True)
    (folder / "logs").mkdir()
    for name in "abc":
        (folder / "output" / name).write_text("xyz")
    tar = shutil.which("tar")

    def download_image(before: str = "", option: str = "") -> Fetched:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "tar").write_text(f'#!/bin/sh\n{before}\nexec {tar} "$@" {option}\n')
        (tmp_path / "bin" / "tar").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/local/bin:/usr/bin:/bin")
        cluster = Cluster(name="c", root=str(tmp_path / "root"))
        with Connections(lambda _: LocalTransport()) as connections:
            return fetch(RUN, tmp_path / "home", connections.to(cluster))

    return download_image


def test_a_tar_that_does_as_it_is_told_brings_all(bring: Callable[..., Fetched]) -> None:
    assert {path.name for path in bring().brought} == set("abc")


def test_a_packed_archive_is_not_unpacked(bring: Callable[..., Fetched], tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="could not pack the run's files"):
        bring(option="--gzip")
    assert not (tmp_path / "home" / "output").exists()


def test_a_sparse_member_is_not_filled_up(bring: Callable[..., Fetched], tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="is a sparse file"):
        bring(before="truncate --size 8M ./a", option="--sparse")
    assert not (tmp_path / "home" / "output" / "a").exists()


def test_an_archive_ends_where_what_was_listed_does(
    bring: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "_MAY_GROW", 100_000)
    with pytest.raises(OverLimitError, match="that it listed"):
        bring(before="truncate --size 8M ./a")
    assert not (tmp_path / "home" / "output").exists()


def test_a_file_that_grew_a_little_comes(bring: Callable[..., Fetched], tmp_path: Path) -> None:
    bring(before="printf more >> ./a")
    assert (tmp_path / "home" / "output" / "a").read_text() == "xyzmore"


def test_more_members_than_files_end_it(bring: Callable[..., Fetched]) -> None:
    with pytest.raises(SchedulerError, match="has more than the 3 requested files"):
        bring(option="./a ./b")


def test_a_large_file_of_which_more_comes_than_asked_for_is_refused(
    bring: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 2)
    monkeypatch.setattr(download, "_RANGE", download._RANGE + "\nyes | head -c 100000\n")
    with pytest.raises(OverLimitError, match="sent more than the 2 bytes"):
        bring()


def test_more_files_than_one_fetch_lists_are_told(bring: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_FILES", 2)
    with pytest.raises(SchedulerError, match=r"more than 2 files, .* use patterns"):
        bring()


def test_a_list_that_is_too_long_is_told(bring: Callable[..., Fetched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LISTING", replace(limits.LISTING, stdout=100))
    with pytest.raises(OverLimitError, match="use patterns"):
        bring()
