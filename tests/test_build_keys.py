"""The keys that name the content of a build."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.build_keys import (
    CodeEntry,
    EnvironmentInputs,
    architecture_of,
    code_entries,
    environment_key,
    image_key,
    without_release,
)
from hpcdeploy.image import GZIP, ZSTD, ContextFile

FILE = ContextFile(source=Path("/project/pixi.lock"), staged="workspace/pixi.lock", mode=0o644, sha256="a" * 64)
INPUTS = EnvironmentInputs(
    text="# tool: the Pixi environment default, made by hpcdeploy 0.9.0\nBootstrap: docker\nFrom: debian:12\n"
    "%labels\n    io.github.hpcdeploy.version 0.9.0\n    io.github.hpcdeploy.lock sha256:1\n",
    files=(FILE,),
    build_args=(("A", "1"), ("B", "2")),
    bases=(("debian:12", "sha256:1"),),
)
ENTRY = CodeEntry(path="/app/src/main.py", mode=0o644, sha256="b" * 64)


@pytest.mark.parametrize(
    "other",
    [
        replace(INPUTS, text=INPUTS.text.replace("debian:12", "debian:13")),
        replace(INPUTS, text=INPUTS.text + "    more 1\n"),
        replace(INPUTS, text=INPUTS.text.replace("sha256:1", "sha256:2")),
        replace(INPUTS, files=()),
        replace(INPUTS, files=(replace(FILE, sha256="c" * 64),)),
        replace(INPUTS, files=(replace(FILE, mode=0o755),)),
        replace(INPUTS, files=(replace(FILE, staged="workspace/other.lock"),)),
        replace(INPUTS, build_args=(("A", "2"), ("B", "2"))),
        replace(INPUTS, build_args=(("A", "1"),)),
        replace(INPUTS, bases=(("debian:12", "sha256:2"),)),
        replace(INPUTS, bases=()),
        replace(INPUTS, architecture="arm64"),
        replace(INPUTS, compression=replace(ZSTD, level=4)),
        replace(INPUTS, compression=GZIP),
        replace(INPUTS, compression=replace(ZSTD, block=1 << 20)),
    ],
)
def test_each_input_changes_the_key_of_the_environment(other: EnvironmentInputs) -> None:
    assert environment_key(other) != environment_key(INPUTS)


@pytest.mark.parametrize(
    "same",
    [
        replace(INPUTS, text=INPUTS.text.replace("0.9.0", "1.0.0rc1")),
        replace(INPUTS, build_args=INPUTS.build_args[::-1]),
        replace(INPUTS, files=(replace(FILE, source=Path("/elsewhere/pixi.lock")),)),
    ],
)
def test_the_release_the_order_and_the_place_of_the_project_are_not_in_the_key(same: EnvironmentInputs) -> None:
    assert environment_key(same) == environment_key(INPUTS)


def test_only_the_two_lines_with_the_release_are_changed() -> None:
    text = (
        "# a: made by hpcdeploy 1.2\n%post\n    echo made by hpcdeploy 1.2\n%labels\n    io.github.hpcdeploy.version 1.2\n"
    )
    assert without_release(text) == (
        "# a: made by hpcdeploy \n%post\n    echo made by hpcdeploy 1.2\n%labels\n    io.github.hpcdeploy.version \n"
    )


@pytest.mark.parametrize(
    "other",
    [
        (),
        (replace(ENTRY, path="/app/src/other.py"),),
        (replace(ENTRY, mode=0o755),),
        (replace(ENTRY, sha256="c" * 64),),
        (replace(ENTRY, sha256="", link="other.py"),),
        (ENTRY, replace(ENTRY, path="/app/src/more.py")),
    ],
)
def test_each_part_of_the_code_changes_the_key_of_the_image(other: tuple[CodeEntry, ...]) -> None:
    key = environment_key(INPUTS)
    assert image_key(key, other) != image_key(key, (ENTRY,))


def test_an_image_key_has_the_environment_in_it_and_is_another_key_even_without_code() -> None:
    one, other = environment_key(INPUTS), environment_key(replace(INPUTS, architecture="arm64"))
    assert len({one, other, image_key(one), image_key(other)}) == 4
    assert image_key(one, (ENTRY, replace(ENTRY, path="/b"))) == image_key(one, (replace(ENTRY, path="/b"), ENTRY))


def test_staged_files_are_entries_of_the_code() -> None:
    assert code_entries((FILE,)) == (CodeEntry(path="workspace/pixi.lock", mode=0o644, sha256="a" * 64),)


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("PPC64LE", "ppc64le")]
)
def test_architectures_have_the_names_of_images(machine: str, name: str) -> None:
    assert architecture_of(machine) == name


@pytest.mark.parametrize(
    "line",
    ["# data made by hpcdeploy {}", "    io.github.hpcdeploy.version {}", "io.github.hpcdeploy.version {}"],
)
def test_a_line_of_a_script_is_part_of_the_key_even_if_it_looks_like_a_release(line: str) -> None:
    text = "# x: made by hpcdeploy 0.1.0\nBootstrap: docker\nFrom: a\n%labels\n    io.github.hpcdeploy.version 0.1.0\n"
    script = "%post\n    cat >/data <<'END'\n" + line + "\nEND\n"
    keys = {environment_key(replace(INPUTS, text=text + script.format(release))) for release in ("1", "2")}
    assert len(keys) == 2
    releases = {environment_key(replace(INPUTS, text=text.replace("0.1.0", release))) for release in ("0.1.0", "0.2.0rc1")}
    assert len(releases) == 1
