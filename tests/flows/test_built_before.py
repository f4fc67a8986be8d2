"""When an image that is there counts as built: only if the person's own record has it. Apptainer is a script here."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_progress import UNCHANGED
from hpcdeploy.apptainer.build_record import check_output, record_path, write_record
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of

INPUTS = "a" * 64
PROGRAM = """#!/bin/sh
case $1 in
--version) echo apptainer version 1.4.5 ;;
build) for word; do case $word in *.part) echo built >"$word" ;; esac; done ;;
exec) echo HPCDEPLOY_BEGUN ;;
esac
"""

Build = Callable[[], tuple[BuiltImage, list[str]]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state" / "runs.db")


@pytest.fixture
def build(tmp_path: Path, store: Store) -> Build:
    program = tmp_path / "apptainer"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    definition = Definition(name="x", text="Bootstrap: docker\nFrom: debian:13\n", files=(), build_args=(), inputs=INPUTS)

    def run() -> tuple[BuiltImage, list[str]]:
        steps: list[str] = []
        built = build_here(
            definition,
            tmp_path / "x.sif",
            LocalBuilds(program=str(program), work=tmp_path / "work"),
            is_recorded=store.has_built,
            report=lambda event: steps.append(event.text),
        )
        return built, steps

    return run


def put(path: Path, *, inputs: str = INPUTS, content: str = "brought along") -> BuiltImage:
    path.write_text(content)
    image = BuiltImage(
        name="x",
        sha256=sha256_of(path),
        size=path.stat().st_size,
        inputs=inputs,
        apptainer="1.4.5",
        created="2026-01-01T00:00:00Z",
        path=str(path),
    )
    return write_record(image)


def test_an_image_with_a_record_that_a_project_brings_along_is_built(build: Build, tmp_path: Path) -> None:
    image = put(tmp_path / "x.sif")
    assert record_path(tmp_path / "x.sif").is_file()
    built, steps = build()
    assert built.sha256 != image.sha256
    assert (tmp_path / "x.sif").read_text() == "built\n"
    assert any("not from a build of yours" in step for step in steps)


def test_an_image_of_other_inputs_does_not_count_by_a_record_that_a_project_brings_along(
    build: Build, store: Store, tmp_path: Path
) -> None:
    store.built(tmp_path / "another", put(tmp_path / "other.sif", inputs="b" * 64))
    put(tmp_path / "x.sif")
    assert build()[0].sha256 == sha256_of(tmp_path / "x.sif")
    assert (tmp_path / "x.sif").read_text() == "built\n"


def test_what_the_person_built_is_not_built_again_also_after_other_builds_of_that_name(
    build: Build, store: Store, tmp_path: Path
) -> None:
    built, _ = build()
    store.built(tmp_path, built)
    for number in range(3):
        store.built(tmp_path, put(tmp_path / "other.sif", inputs=f"{number}" * 64, content=f"{number}"))
    again, steps = build()
    assert again == built
    assert steps[-1:] == [UNCHANGED]


@pytest.mark.parametrize("table", ["built", "built_on"])
def test_what_an_older_release_recorded_counts(build: Build, store: Store, tmp_path: Path, table: str) -> None:
    image = put(tmp_path / "x.sif")
    store.built(tmp_path, replace(image, cached_on="hpc"))
    with closing(sqlite3.connect(tmp_path / "state" / "runs.db")) as connection, connection:
        connection.execute("DROP TABLE builds")
        connection.execute("DELETE FROM built_on" if table == "built" else "DELETE FROM built")
    assert store.has_built(image)
    assert build()[0].sha256 == image.sha256
    # It still counts when a later build of that name has taken its place on record.
    store.built(tmp_path, put(tmp_path / "other.sif", inputs="b" * 64, content="later"))
    assert store.has_built(image)


def test_a_damaged_row_is_no_build(store: Store, tmp_path: Path) -> None:
    image = put(tmp_path / "x.sif")
    store.built(tmp_path, image)
    with closing(sqlite3.connect(tmp_path / "state" / "runs.db")) as connection, connection:
        connection.execute("DELETE FROM builds")
        connection.execute("UPDATE built SET image = ?", ("{" + image.sha256,))
    assert not store.has_built(image)


@pytest.mark.parametrize("name", ["x.sif", "x.json"])
def test_a_file_that_is_no_build_is_kept_unless_it_is_forced(tmp_path: Path, name: str) -> None:
    own = tmp_path / name
    own.write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=rf"{name} exists, and is not .*--force"):
        check_output(tmp_path / "x.sif", force=False)
    check_output(tmp_path / "x.sif", force=True)
    assert own.read_text() == '{"mine": 1}'


def test_a_build_does_not_start_over_a_file_of_the_user(build: Build, tmp_path: Path) -> None:
    (tmp_path / "x.sif").write_text("mine")
    with pytest.raises(ConfigError, match="is not an image that hpcdeploy built"):
        build()
    assert (tmp_path / "x.sif").read_text() == "mine"


def test_an_image_that_was_changed_after_its_build_is_kept(build: Build, store: Store, tmp_path: Path) -> None:
    store.built(tmp_path, build()[0])
    (tmp_path / "x.sif").write_text("changed")
    with pytest.raises(ConfigError, match="is not an image that hpcdeploy built"):
        build()


def test_a_record_without_its_image_is_written_again(build: Build, tmp_path: Path) -> None:
    put(tmp_path / "x.sif", inputs="b" * 64)
    (tmp_path / "x.sif").unlink()
    assert build()[0].inputs == INPUTS
