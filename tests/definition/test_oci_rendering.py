"""Definitions of images that exist: the golden files, what an image may say in them, and what its shell makes of it."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy import __version__
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.grammar import read_definition, substitute
from hpcdeploy.definition.oci import OciRecipe, notes_of, render_oci
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import FileCopy, ImageSettings, Step
from hpcdeploy.source import OciConfig, OciSource
from tests.definition.samples import AWKWARD
from tests.golden import check_golden

GOLDEN = Path(__file__).parent / "golden"
SOURCE = OciSource(reference="docker.io/library/python:3.12")
PINNED = ("docker", "docker.io/library/python@sha256:" + "ab" * 32)
CONFIG = OciConfig(cmd=("python3",), env=(("PATH", "/usr/local/bin:/usr/bin:/bin"), ("PYTHON_VERSION", "3.12.7")))

PLAIN = OciRecipe(
    settings=ImageSettings(name="oci-plain", source=SOURCE),
    config=CONFIG,
    base=PINNED,
    image="docker.io/library/python:3.12",
)
WHOLE = OciRecipe(
    settings=ImageSettings(
        name="oci-whole",
        source=SOURCE,
        files=(FileCopy(source="app", destination="/app/src"),),
        setup=(Step(run="echo {{ COLOUR }} > /opt/colour"), Step(run="make\nmake install")),
        test=("app --version",),
        start=("serve",),
        environment=(("OWN", "a b"),),
        labels=(("org.example.a", "ours"), ("org.example.b", "{{ X }}"), ("org.example.c", "c")),
        build_args=(("COLOUR", "red"),),
        ports=(8080,),
        bind_points=("/scratch",),
    ),
    config=OciConfig(
        entrypoint=("/entry", "--flag"),
        cmd=AWKWARD,
        workdir="/srv/my app",
        user="app",
        env=(("PATH", "/bin"), *((f"A{number}", text) for number, text in enumerate(AWKWARD)), ("a.b", "c"), ("HOME", "/x")),
        labels=(("org.example.a", "the image's"),),
        ports=("80/tcp",),
        volumes=("/data", "/logs"),
        stop_signal="SIGQUIT",
        health_check=True,
    ),
    base=("oci-archive", "image/archive.tar"),
)
RECIPES = {recipe.settings.name: recipe for recipe in (PLAIN, WHOLE)}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_definition_is_the_golden_one(recipe: OciRecipe) -> None:
    golden = GOLDEN / f"{recipe.settings.name}.def"
    text = render_oci(recipe).replace(__version__, "VERSION")
    check_golden(golden, text)


def test_nothing_runs_in_an_image_that_needs_nothing_done() -> None:
    [stage] = read_definition(render_oci(PLAIN))
    assert {section.name for section in stage.sections} == {"environment", "runscript", "startscript", "labels"}


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("name", ["post", "environment", "runscript", "startscript", "test"])
def test_every_script_is_plain_shell(shell: str, name: str) -> None:
    [stage] = read_definition(substitute(render_oci(WHOLE), {}))
    subprocess.run([shell, "-n"], input=stage.section(name), text=True, check=True)


def start(recipe: OciRecipe, section: str, folder: Path, *words: str) -> list[str]:
    """Start a script as Apptainer does, with `folder` first on the PATH; return the words that reached the program."""
    script = folder / section
    script.write_text(read_definition(substitute(render_oci(recipe), {}))[0].section(section))
    program = folder / "entry"
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(["sh", script, *words], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "words", "expected"),
    [
        ((), ("entry", *AWKWARD), (), AWKWARD),
        ((), ("entry", "x"), ("entry", *AWKWARD), AWKWARD),
        (("entry", *AWKWARD), (), (), AWKWARD),
        (("entry", "a"), ("b", "c"), (), ("a", "b", "c")),
        (("entry", "a"), ("b", "c"), ("", "$HOME"), ("a", "", "$HOME")),
        (("entry", "a"), (), ("b",), ("a", "b")),
    ],
)
def test_words_are_put_together_as_docker_does(
    entrypoint: tuple[str, ...], cmd: tuple[str, ...], words: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    recipe = replace(PLAIN, config=OciConfig(entrypoint=entrypoint, cmd=cmd))
    for section in ("runscript", "startscript"):
        assert tuple(start(recipe, section, tmp_path, *words)) == expected


def test_the_settings_command_and_start_take_the_place_of_cmd(tmp_path: Path) -> None:
    config = OciConfig(entrypoint=("entry",), cmd=("image's",))
    own = replace(PLAIN, config=config, settings=replace(PLAIN.settings, command=("ours",)))
    assert start(own, "runscript", tmp_path) == start(own, "startscript", tmp_path) == ["ours"]
    both = replace(own, settings=replace(own.settings, start=("serve",)))
    assert (start(both, "runscript", tmp_path), start(both, "startscript", tmp_path)) == (["ours"], ["serve"])


def test_an_instance_of_an_image_without_a_command_runs_nothing(tmp_path: Path) -> None:
    assert start(replace(PLAIN, config=OciConfig()), "startscript", tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_sh_reads_every_word_back_as_it_was(texts: list[str]) -> None:
    script = "printf '%s\\0' x " + " ".join(map(guard.sh_word, texts))
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[1:-1] == texts


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("{} \n\r%bootstrap:X#\"'$`\\\t")))
def test_no_word_of_an_image_is_read_as_part_of_the_definition(text: str) -> None:
    recipe = replace(PLAIN, config=OciConfig(cmd=(text, "end"), env=(("A", text),), workdir="/" + text, entrypoint=(text,)))
    [stage] = check_definition(render_oci(recipe))
    assert {section.name for section in stage.sections} - {"post"} == {"environment", "runscript", "startscript", "labels"}


def test_the_settings_may_set_path_since_nothing_is_activated() -> None:
    [stage] = read_definition(
        render_oci(replace(PLAIN, settings=replace(PLAIN.settings, environment=(("PATH", "/own bin:/bin"),))))
    )
    assert stage.section("environment").split("\n")[-3:-1] == ['    export PATH="/own bin:/bin"', ""]


def test_a_name_that_no_shell_takes_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'a-b' must contain only"):
        render_oci(replace(PLAIN, settings=replace(PLAIN.settings, environment=(("a-b", "x"),))))


def test_a_word_that_no_program_can_be_given_is_refused() -> None:
    with pytest.raises(DefinitionError, match="NUL"):
        render_oci(replace(PLAIN, config=OciConfig(cmd=("a\0",))))


def test_what_is_otherwise_than_with_docker_is_said() -> None:
    notes = "\n".join(notes_of(WHOLE.config, WHOLE.settings))
    for words in (
        "WORKDIR /srv/my app;",
        "USER app has no effect",
        "DIR:/data",
        "80/tcp",
        "HEALTHCHECK",
        "SIGQUIT",
        "a.b, HOME are",
    ):
        assert words in notes
    assert notes_of(CONFIG, PLAIN.settings) == ()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (OciConfig(cmd=("x",), workdir="/root"), "only root may enter"),
        (OciConfig(cmd=("x",), workdir="tmp"), "WORKDIR /tmp is in a folder"),
        (OciConfig(cmd=("x",), user="0:0"), ""),
        (OciConfig(cmd=("x",), user="root"), ""),
        (OciConfig(), "has no command"),
    ],
)
def test_notes_are_made_where_they_matter(config: OciConfig, words: str) -> None:
    notes = "\n".join(notes_of(config, PLAIN.settings))
    assert words in notes
    assert bool(words) == bool(notes)
