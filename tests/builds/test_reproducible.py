"""The same inputs give the same bytes, whoever builds where and when."""

import json
from collections.abc import Iterator

import pytest

from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.builds.local import Builder, builder

SETUP = [
    'echo "$SOURCE_DATE_EPOCH" >/opt/epoch',
    "mkdir -p /opt/lib; echo 'x = 1' >/opt/lib/mod.py; PYTHONPATH=/opt/lib python3 -c 'import mod'",
    "mkdir -p /var/log/apt; date +%N >/var/log/apt/history.log; date +%N >/var/log/dpkg.log",
    "mkdir -p /var/cache/ldconfig; date +%N >/var/cache/ldconfig/aux-cache",
]
ELSEWHERE = "umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8 PYTHONHASHSEED=7 SOURCE_DATE_EPOCH="


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Builder]:
    with builder(lab, "reproducible") as one:
        prepare(one)
        yield one


COMPARE = """
import sys
from pathlib import Path
from hpcdeploy.apptainer.compare import differences
from hpcdeploy.apptainer.packing import find_tools
first, second, work = map(Path, sys.argv[1:])
for text in differences(first, second, find_tools(first.parent), work):
    print(text)
"""


def differing(lab: Lab, one: Builder, other: Builder) -> list[str]:
    """List the differences of the two users' images, with the permissions of root."""
    images = [f"{place.within}/out/x.sif" for place in (one, other)]
    done = inside(
        lab,
        ["python3", "-c", COMPARE, *images, f"{one.within}/compared"],
        environment={"PYTHONPATH": f"{one.within}/site", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def prepare(one: Builder) -> None:
    settings = (one.folder / "project/hpcdeploy.toml").read_text()
    one.write("hpcdeploy.toml", settings.replace("[image]\n", f"[image]\nsetup = {json.dumps(SETUP)}\n", 1))


def test_another_user_builds_the_same_bytes_in_another_folder_umask_and_time_zone(lab: Lab, place: Builder) -> None:
    first, steps = place.built()
    assert "building the environment without the code" in steps
    with builder(lab, "elsewhere", user=lab.colleague, root=lab.team_scratch) as other:
        prepare(other)
        second, steps = other.built(before=ELSEWHERE)
        assert "building the environment without the code" in steps
        assert differing(lab, place, other) == []
        assert second == first
        other.write("app/report.sh", "#!/bin/sh\necho other\n")
        assert other.built()[0] != first


def test_the_time_is_that_of_the_variable_and_compiled_files_stay_valid(place: Builder) -> None:
    place.built()
    assert place.run("cat", "/opt/epoch") == "315532800\n"
    assert place.run("stat", "-c", "%Y", "/opt/lib/mod.py", "/app/src/report.sh") == "315532800\n" * 2
    said = place.run("sh", "-c", "PYTHONPATH=/opt/lib python3 -v -c 'import mod' 2>&1 | grep mod.cpython")
    assert "matches /opt/lib/mod.py" in said
    labels = place.run(action="inspect", options=("--labels",))
    assert "Tuesday_1_January_1980_0:0:0_UTC" in labels
    assert place.lab.registry not in labels + place.run(action="inspect", options=("--deffile",))
    assert place.lab.registry not in place.run("cat", "/.singularity.d/labels.json", "/.singularity.d/Singularity")
    header = place.shell(f"apptainer sif header {place.within}/out/x.sif")
    assert header.count("1980-01-01 00:00:00") == 2
    assert (
        place.run("sh", "-c", "ls /var/log/apt /var/log/dpkg.log /var/cache/ldconfig 2>/dev/null | grep -v :; true").split()
        == []
    )


def test_a_time_of_the_callers_is_used(place: Builder) -> None:
    place.build(force=True, before="export SOURCE_DATE_EPOCH=1700000000")
    assert place.run("cat", "/opt/epoch") == "1700000000\n"
    assert place.run("stat", "-c", "%Y", "/opt/lib/mod.py", "/app/src/report.sh") == "1700000000\n" * 2


def test_a_time_that_is_no_number_is_refused(place: Builder) -> None:
    answer = place.build(force=True, before="export SOURCE_DATE_EPOCH=yesterday")
    assert answer["code"] == 2
    assert "SOURCE_DATE_EPOCH is 'yesterday'; expected whole seconds since 1970" in str(answer["error"])


def test_two_builds_are_compared_and_what_differs_is_listed(place: Builder) -> None:
    settings = (place.folder / "project/hpcdeploy.toml").read_text()
    answer = place.build(variables={"TWICE": "yes"})
    assert "built" in answer, answer
    bad = [*SETUP, "date +%N >/opt/moment; ln -s $(date +%N) /opt/link; touch /opt/$$-$(date +%N)"]
    place.write("hpcdeploy.toml", settings.replace(json.dumps(SETUP), json.dumps(bad)))
    answer = place.build(variables={"TWICE": "yes"})
    assert answer["code"] == 67, answer
    listed = str(answer["error"]).splitlines()
    assert listed[0] == "two builds of 'default' differ:"
    assert "  /opt/moment (content)" in listed
    assert any(line.startswith("  /opt/link (") and " -> " in line for line in listed)
    assert sum("(only in the first image)" in line for line in listed) == 1
    assert sum("(only in the second image)" in line for line in listed) == 1
    assert not any("report.sh" in line or "/opt/epoch" in line for line in listed)
    second = list((place.folder / "builds").glob("*-second"))
    assert second
    assert {path.name for folder in second for path in folder.iterdir()} == {"lock"}
    place.write("hpcdeploy.toml", settings)
