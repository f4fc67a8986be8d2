"""Builds that are killed, or whose disk is full: nothing damaged keeps its final name, and nothing is left behind."""

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator

import pytest

from hpcdeploy_lab.state import Lab
from tests import seed as seeds
from tests.builds.local import Builder, builder

KILLS = int(os.environ.get("HPCDEPLOY_APPEND_KILLS", "12"))


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Builder]:
    with builder(lab, "append-faults") as one:
        one.built()
        yield one


def sha256_of(place: Builder, name: str) -> str:
    with (place.folder / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def environment(place: Builder) -> str:
    [image] = (place.folder / "environments").glob("*.sif")
    return sha256_of(place, str(image.relative_to(place.folder)))


def check(place: Builder) -> None:
    """Check that the image, if it belongs to its record, is whole, and that the environment is as it was recorded."""
    record = json.loads((place.folder / "out/x.json").read_text())
    found = sha256_of(place, "out/x.sif")
    if found == record["sha256"]:
        assert place.run("cat", "/app/src/state", "/app/src/report.sh")
    else:  # the image was renamed, and the record was not written; the next build removes the image
        assert place.run("cat", "/app/src/state", "/app/src/report.sh")


def test_a_killed_build_damages_nothing_and_leaves_nothing(place: Builder) -> None:
    place.write("app/state", "0\n")
    before = time.monotonic()
    place.built()
    lasts = time.monotonic() - before
    pristine, chance = environment(place), random.Random(f"{os.environ[seeds.VARIABLE]} append")
    for number in range(KILLS):
        place.write("app/state", f"{number + 1}\n")
        place.killed(chance.uniform(0, lasts))
        assert environment(place) == pristine
        check(place)
    sha256, _ = place.built()
    assert sha256_of(place, "out/x.sif") == sha256
    assert place.run("cat", "/app/src/state") == f"{KILLS}\n"
    assert sorted(path.name for path in (place.folder / "out").iterdir()) == ["x.json", "x.sif"]
    [entry] = (place.folder / "environments").glob("*.sif")
    assert {path.name for path in (place.folder / "environments").iterdir()} == {entry.name, f"{entry.stem}.json"}


def test_a_full_disk_leaves_the_image_as_it_was(place: Builder) -> None:
    place.write("app/state", "fits\n")
    good, _ = place.built()
    size = (place.folder / "out/x.sif").stat().st_size // 1024
    for limit in (size // 2, size + 8):
        place.write("app/state", os.urandom(200_000).hex() + f"{limit}\n")
        answer = place.build(before=f"ulimit -f {limit}")
        assert "error" in answer, answer
        assert sha256_of(place, "out/x.sif") == good
        assert sorted(path.name for path in (place.folder / "out").iterdir()) == ["x.json", "x.sif"]
    place.write("app/state", "fits\n")
    assert place.built()[0] == good


def test_a_damaged_environment_is_built_again_and_never_used(place: Builder) -> None:
    place.write("app/state", "whole\n")
    good, _ = place.built()
    pristine = environment(place)
    [image] = (place.folder / "environments").glob("*.sif")
    with image.open("r+b") as file:
        file.seek(100_000)
        file.write(b"damage")
    place.write("app/state", "other\n")
    _, steps = place.built()
    assert "building the environment without the code" in steps
    assert environment(place) == pristine
    place.write("app/state", "whole\n")
    assert place.built()[0] == good
