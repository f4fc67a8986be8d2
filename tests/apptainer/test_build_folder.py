"""The folder of a build on a login node, where others may write beside it. A script stands in for Apptainer."""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_script import building
from hpcdeploy.cluster import Cluster
from hpcdeploy.image import Definition
from tests.users import ALICE, BOB

DEFINITION = Definition(name="x", text="Bootstrap: docker\nFrom: debian\n", files=(), build_args=(), inputs="ab" * 32)
APPTAINER = """#!/bin/bash
case $1 in
  --version) echo "apptainer version 1.4.5" ;;
  build)
    stat -c '%a %u %n' -- "$APPTAINER_TMPDIR" >"$NOTE"
    echo image >"${@: -2:1}"
    [ ! -e "$NOTE.fail" ] || kill -9 "$SCRIPT"
    ;;
  exec) echo HPCDEPLOY_BEGUN ;;
esac
"""


class Site:
    """A login node's folders: Alice's root, and a folder for temporary files that both may write to."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.root, self.tmp, self.note = folder, folder / "root", folder / "tmp", folder / "note" / "it"
        for path, mode in ((self.root, 0o700), (self.tmp, 0o1777), (self.note.parent, 0o700)):
            path.mkdir()
            path.chmod(mode)
        os.chown(self.root, ALICE, ALICE)
        os.chown(self.note.parent, ALICE, ALICE)
        self.program = folder / "apptainer"
        self.program.write_text(APPTAINER)
        self.program.chmod(0o755)

    def build(self) -> "subprocess.CompletedProcess[str]":
        context = self.root / "builds" / DEFINITION.inputs / "context.tar"
        cluster = Cluster(
            name="c", root=str(self.root), tmp=str(self.tmp), apptainer=str(self.program), setup=("export SCRIPT=$$",)
        )
        archive = subprocess.run(["tar", "-cf", "-", "-T", "/dev/null"], capture_output=True, check=True).stdout
        script = building(DEFINITION, cluster, context_sha256=hashlib.sha256(archive).hexdigest())
        put = f"mkdir -p {context.parent} && tar -cf {context} -T /dev/null\n"
        return self.run(put + script)

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-s"],
            input=script,
            user=ALICE,
            group=ALICE,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            umask=0o077,
            env={"PATH": os.environ["PATH"], "NOTE": str(self.note)},
        )


@pytest.fixture
def site(short: Path) -> Site:
    return Site(short)


def plant(folder: Path) -> Path:
    folder.mkdir()
    return taken(folder)


def taken(folder: Path) -> Path:
    """Give a folder to Bob, who lets everybody write to it."""
    os.chown(folder, BOB, BOB)
    folder.chmod(0o777)
    return folder


def test_the_folder_of_a_build_cannot_be_foreseen_and_is_ours_alone(site: Site) -> None:
    planted = plant(site.tmp / f"build-{DEFINITION.inputs[:16]}")
    done = site.build()
    assert done.returncode == 0, done.stderr
    mode, owner, folder = site.note.read_text().split()
    assert (mode, int(owner)) == ("700", ALICE)
    assert re.fullmatch(rf"{site.tmp}/build-{DEFINITION.inputs[:16]}-\w{{8}}", folder)
    assert list(site.tmp.iterdir()) == [planted]
    [image] = (site.root / "images").glob("*.sif")
    assert image.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_build_left_is_removed_by_the_next_one(site: Site) -> None:
    fail = site.note.with_name("it.fail")
    fail.touch()
    assert site.build().returncode != 0
    [left] = site.tmp.iterdir()
    fail.unlink()
    noted = site.root / "builds" / DEFINITION.inputs / "temporary"
    assert noted.read_text() == f"{left}\n"
    done = site.build()
    assert done.returncode == 0, done.stderr
    assert not list(site.tmp.iterdir())
    assert not list((site.root / "images").glob(".*part"))
    assert not noted.exists()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda site: os.chown(site.tmp, BOB, BOB), "the folder for temporary files, belongs to 12002, who could replace"),
        (lambda site: site.tmp.chmod(0o777), "others may write to"),
        (lambda site: taken(site.root), "root belongs to 12002, who could change"),
        (lambda site: plant(site.root / "builds"), "builds belongs to 12002, who could change"),
    ],
)
def test_a_folder_in_which_others_could_exchange_the_build_is_refused(
    site: Site, prepare: Callable[[Site], object], said: str
) -> None:
    prepare(site)
    done = site.build()
    assert done.returncode == 10, done.stderr
    assert said in done.stderr
    assert "set " in done.stderr
    assert not site.note.exists()


def test_what_is_ours_and_open_to_others_is_closed(site: Site) -> None:
    site.root.chmod(0o775)
    os.chown(site.tmp, ALICE, ALICE)
    site.tmp.chmod(0o777)
    assert site.build().returncode == 0
    assert (site.root.stat().st_mode & 0o7777, site.tmp.stat().st_mode & 0o7777) == (0o755, 0o1777)


def test_an_image_of_these_inputs_that_somebody_else_has_written_is_not_taken(site: Site) -> None:
    assert site.build().returncode == 0
    [image] = (site.root / "images").glob("*.sif")
    os.chown(image, BOB, BOB)
    done = site.build()
    assert done.returncode == 10
    assert f"{image} belongs to {BOB}, who could have put any image there" in done.stderr
