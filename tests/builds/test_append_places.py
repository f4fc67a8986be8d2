"""Where code can be appended, where it cannot, and what is said then."""

import urllib.request
from collections.abc import Iterator

import pytest

from hpcdeploy_lab.state import Lab
from tests.builds.local import Builder, builder

SETTINGS = """
[image]
oci = "docker.io/library/debian:trixie-slim"
files = {{ {files} }}
test = ["test -r {tested}"]
"""


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Builder]:
    with builder(lab, "append-places") as one:
        yield one


def built(place: Builder, **more: object) -> tuple[str, list[str]]:
    """Build the image of the project, whose base image has a digest in the registry."""
    address = f"http://{place.lab.registry}/v2/library/debian/manifests/trixie-slim"
    kinds = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=kinds, method="HEAD")) as answer:
        digest = answer.headers["Docker-Content-Digest"]
    return place.built(variables={"DIGEST": digest}, **more)


def settings(place: Builder, files: dict[str, str]) -> None:
    pairs = ", ".join(f'"{source}" = "{destination}"' for source, destination in files.items())
    place.write("hpcdeploy.toml", SETTINGS.format(files=pairs, tested=next(iter(files.values()))))


def test_code_goes_to_several_places_also_below_a_link(place: Builder) -> None:
    place.write("tool.sh", "#!/bin/sh\necho tool\n")
    place.shell(f"chmod 755 {place.within}/project/tool.sh")
    # /lib is a link to /usr/lib in the image, and /etc has many files.
    settings(place, {"app": "/app", "tool.sh": "/lib/tool.sh", "pixi.toml": "/etc/tool/pixi.toml"})
    first, steps = built(place)
    assert steps[-2:] == ["appending the code", "running %test"]
    assert place.run("/lib/tool.sh") == "tool\n"
    assert place.run("/usr/lib/tool.sh") == "tool\n"
    assert place.run("readlink", "/usr/lib/tool.sh") == "/.hpcdeploy.d/lib/tool.sh\n"
    assert "[workspace]" in place.run("cat", "/etc/tool/pixi.toml")
    assert place.run("stat", "-L", "-c", "%a %F", "/app", "/app/report.sh", "/etc/tool").split("\n")[0] == "755 directory"
    assert place.run("ls", "/.hpcdeploy.d/lib/ssl/..").split()  # what is beside the code is linked
    place.write("tool.sh", "#!/bin/sh\necho other\n")
    assert built(place)[0] != first
    assert place.run("/lib/tool.sh") == "other\n"


def test_a_destination_with_files_of_the_image_is_found_in_the_build_and_remembered(place: Builder) -> None:
    settings(place, {"app": "/etc/apt"})
    _, steps = built(place)
    why = "note: the code is copied while the image is built: the image has other files at /etc/apt"
    assert why in steps
    assert "report.sh" in place.run("ls", "/etc/apt").split()
    assert "sources.list.d" in place.run("ls", "/etc/apt").split()
    place.write("app/second.sh", "")
    _, steps = built(place)
    assert why in steps
    assert "building the environment without the code" not in steps
    assert "second.sh" in place.run("ls", "/etc/apt").split()


def test_a_site_with_its_own_mksquashfs_gets_a_normal_build_and_the_reason(place: Builder) -> None:
    settings(place, {"app": "/app"})
    # An Apptainer that does not search PATH, as with 'mksquashfs path' in its configuration, which only root can write.
    script = '#!/bin/sh\nPATH=/usr/bin:/bin exec apptainer "$@"\n'
    (place.folder / "apptainer").write_text(script)
    (place.folder / "apptainer").chmod(0o755)
    _, steps = built(place, program=f"{place.within}/apptainer", force=True)
    assert any("copied while the image is built: apptainer 1" in step and "mksquashfs path" in step for step in steps), steps
    assert any("the same inputs may give other bytes next time" in step for step in steps)
    assert place.run("readlink", "-f", "/app") == "/app\n"
    assert place.run("ls", "/app").split()
