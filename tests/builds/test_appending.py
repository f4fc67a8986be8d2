"""Code is appended to an image of the environment, and the result is the image that a whole build would give."""

from collections.abc import Iterator

import pytest

from hpcdeploy_lab.state import Lab
from tests.builds.local import Builder, builder

RESOLVED = """
import pathlib
here = pathlib.Path(__file__).resolve()
print(here.name, (here.parent / "report.sh").is_file(), (here.parents[1] / "pixi.toml").is_file())
print((here.parents[1] / ".pixi/envs/gpu").is_dir(), pathlib.Path(__file__))
"""
LISTED = "find -L /app/src -printf '%P %y %#m %U %G %s %T@\\n' | sort; stat -c '%a %u %Y' /app; stat -c %a /; cat /app/src/*"


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Builder]:
    """An image with appended code, which the tests may build again with other code."""
    with builder(lab, "appending") as one:
        one.write("app/where.py", RESOLVED)
        one.write("app/state", "fine\n")
        settings = (one.folder / "project/hpcdeploy.toml").read_text()
        one.write("hpcdeploy.toml", settings.replace("test = [", 'test = ["grep -q fine /app/src/state", '))
        one.built()
        yield one


def test_a_changed_line_costs_no_build_and_the_same_code_has_the_same_digest(place: Builder) -> None:
    first, steps = place.built()
    assert steps == ["unchanged: an image of these inputs exists (--force builds it again)"]
    report = (place.folder / "project/app/report.sh").read_text()
    place.write("app/report.sh", report + "echo and more\n")
    second, steps = place.built()
    assert steps == ["appending the code", "running %test"]
    assert second != first
    assert place.run("/app/src/report.sh").splitlines()[-1] == "and more"
    place.write("app/report.sh", report)
    third, _ = place.built()
    assert third == first


def test_the_image_is_a_plain_one_for_all_commands_and_site_settings(place: Builder) -> None:
    assert place.run(action="inspect", options=("--deffile",)).count("files/0/src /app") == 1
    assert "io.github.hpcdeploy.version" in place.run(action="inspect", options=("--labels",))
    listed = place.shell(f"apptainer sif list {place.within}/out/x.sif")
    assert listed.count("Squashfs") == 1
    place.shell(f"sed 's/^enable overlay = .*/enable overlay = no/' /etc/apptainer/apptainer.conf >{place.within}/no.conf")
    wanted = place.run("/app/src/report.sh", "hello")
    assert "hello" in wanted
    assert place.run("/app/src/report.sh", "hello", options=("--underlay",)) == wanted
    assert place.run("/app/src/report.sh", "hello", config=f"{place.within}/no.conf") == wanted
    assert place.run("stat", "-c", "%a", "/") == "755\n"


def test_a_program_that_resolves_its_path_finds_what_is_beside_it(place: Builder) -> None:
    said = place.run("python3", "/app/src/where.py")
    assert said == "where.py True True\nTrue /app/src/where.py\n"


def test_a_folder_can_be_mounted_over_the_code(place: Builder) -> None:
    place.shell(f"mkdir -p {place.within}/other && echo 'print(7)' >{place.within}/other/where.py")
    mount = ("--bind", f"{place.within}/other:/app/src")
    assert place.run("python3", "/app/src/where.py", options=mount) == "7\n"
    assert place.run("python3", "/app/src/where.py", options=(*mount, "--underlay")) == "7\n"


def test_the_same_files_are_baked_if_a_step_may_read_them(place: Builder) -> None:
    appended = place.run("sh", "-c", LISTED)
    settings = (place.folder / "project/hpcdeploy.toml").read_text()
    place.write("hpcdeploy.toml", settings.replace("[image]\n", '[image]\nsetup = ["cat /app/src/where.py"]\n', 1))
    _, steps = place.built()
    [why] = [step for step in steps if "the code is copied while the image is built" in step]
    assert "'cat /app/src/where.py' of 'setup' may read the code" in why
    assert place.run("readlink", "-f", "/app/src") == "/app/src\n"
    assert place.run("sh", "-c", LISTED) == appended
    place.write("hpcdeploy.toml", settings)
    place.built()
    assert place.run("readlink", "-f", "/app/src") == "/.hpcdeploy.d/app/src\n"


def test_a_failing_test_of_appended_code_fails_the_build_and_leaves_the_image(place: Builder) -> None:
    good, _ = place.built()
    place.write("app/state", "broken\n")
    answer = place.build()
    assert answer["code"] == 67, answer
    assert sorted(path.name for path in (place.folder / "out").iterdir()) == ["x.json", "x.sif"]
    assert place.run("cat", "/app/src/state") == "fine\n"
    place.write("app/state", "fine\n")
    assert place.built()[0] == good
