"""Translated Dockerfiles as definitions: golden files, and what their shells do with awkward texts."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpcdeploy import __version__
from hpcdeploy.definition.dockerfile.context import Context, Entry
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.definition.dockerfile.quoting import PREAMBLE, word, written
from hpcdeploy.definition.dockerfile.rendering import render_dockerfile
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.definition.dockerfile.values import Plan, PlannedStage, Start
from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.definition.pixi_dockerfile import quoted
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DockerfileSource, OciConfig
from tests.definition.dockerfile.samples import SAMPLES, plan_of
from tests.definition.samples import AWKWARD

GOLDEN = Path(__file__).parent.parent / "golden"
REWRITE = "HPCDEPLOY_WRITE_GOLDEN"
SETTINGS = ImageSettings(name="sample", source=DockerfileSource(), test=("true",), labels=(("own", "1"),))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(AWKWARD)


def render(plan: Plan) -> str:
    return render_dockerfile(plan, SETTINGS, file="Dockerfile")


def stages(plan: Plan) -> tuple[Stage, ...]:
    return read_definition(substitute(render(plan), {}))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_definition_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"{name}.def"
    text = render(plan_of(SAMPLES[name])).replace(__version__, "VERSION")
    if os.environ.get(REWRITE):
        golden.write_text(text)
    assert text == golden.read_text(), f"run the tests with {REWRITE}=1 to renew it, and read the difference"


@pytest.mark.parametrize("name", SAMPLES)
def test_shellcheck_finds_nothing_in_any_section(name: str, tmp_path: Path) -> None:
    scripts = []
    for number, stage in enumerate(stages(plan_of(SAMPLES[name]))):
        for section in stage.sections:
            if section.name in ("post", "runscript", "startscript", "test"):
                script = tmp_path / f"{number}-{section.name}.sh"
                script.write_text(section.body if section.body.startswith("#!") else f"#!/bin/sh\n{section.body}")
                scripts.append(script)
    # SC1003, SC2016: shell text for another shell. SC2034: an argument that no RUN reads. SC2317, SC2329, SC2119, SC2120:
    # functions that not every Dockerfile needs. SC2043: a path that is put aside without being a pattern.
    command = ["shellcheck", "--exclude=SC1003,SC2016,SC2034,SC2043,SC2317,SC2329,SC2119,SC2120", *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_stages_of_the_lesson_are_those_of_its_dockerfile() -> None:
    build, last = stages(plan_of(SAMPLES["dockerfile-lesson"]))
    assert (build.header["stage"], last.header["stage"]) == ("build", "final")
    assert build.arguments == {"CUDA_VERSION": "12", "ENVIRONMENT": "gpu"}
    copies = next(copies for copies in last.files if copies.words == "from build")
    assert [source for source, _ in copies.pairs] == [
        "/app/.pixi/envs/gpu",
        "/app/pixi.toml",
        "/app/.pixi/.gitignore",
        "/app/entrypoint.sh",
    ]


def test_an_image_that_is_only_copied_from_runs_nothing() -> None:
    tool = next(stage for stage in stages(plan_of(SAMPLES["dockerfile-odd"])) if stage.header["from"] == "tool:2")
    assert not tool.sections


def test_a_long_stage_is_several_sections_that_apptainer_joins() -> None:
    text = "FROM base\n" + "".join(f"RUN echo {number:04} {'x' * 1000}\n" for number in range(100))
    assert render(plan_of(text)).count("\n%post\n") > 3
    many = {f"{number:04}": Entry(kind="file", mode=0o664) for number in range(3000)}
    dockerfile = parse_dockerfile("FROM base\nCOPY . /x\n")
    plan = translate(dockerfile, context=Context(entries=many), image_config=lambda reference: OciConfig())
    assert render(plan).count("    chmod 0664 ") == 3000
    with pytest.raises(DefinitionError, match="longer than Apptainer reads"):
        render(plan_of(f"FROM base\nRUN echo {'x' * 70000}"))


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.none() | st.lists(TEXTS, min_size=1, max_size=3))
@example(["%s", "\r\n"], ["\n"], None)
def test_every_word_reaches_the_program_as_docker_would_hand_it_over(
    entrypoint: list[str], command: list[str], given_words: list[str] | None
) -> None:
    start = Start(entrypoint=("printf", "<%s>\\0", *entrypoint), command=tuple(command))
    body = stages(Plan(stages=(PlannedStage(name="a", base="b", start=start),), known=(), notes=()))[-1].section("runscript")
    done = subprocess.run(["sh", "-c", body, "sh", *(given_words or ())], capture_output=True, check=True)
    words = [*entrypoint, *(given_words or command)]
    assert done.stdout == "".join(f"<{text}>\0" for text in words or [""]).encode()


@pytest.mark.parametrize(("workdir", "begins"), [("/", False), ("/srv/a b", True)])
def test_a_container_begins_in_the_working_folder_where_the_dockerfile_has_one(workdir: str, begins: bool) -> None:
    stage = PlannedStage(name="a", base="b", start=Start(command=("pwd",), workdir=workdir))
    body = stages(Plan(stages=(stage,), known=(), notes=()))[-1].section("runscript")
    assert ("cd '/srv/a b' ||" in body) is begins
    assert ("cd " in body) is begins


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["A", "B_1", "PATH_2"]), TEXTS, min_size=1))
def test_every_variable_has_its_value_in_the_container(values: dict[str, str]) -> None:
    stage = PlannedStage(name="a", base="b", environment=tuple(values.items()))
    post = stages(Plan(stages=(stage,), known=(), notes=()))[-1].section("post")
    lines = [line for line in post.split("\n") if "export " in line]
    made = subprocess.run(["sh", "-c", "\n".join((*PREAMBLE, *lines))], capture_output=True, check=True).stdout
    for name, value in values.items():
        read = 'eval "$1"; printf %s "${' + name + '}"'
        done = subprocess.run(["sh", "-c", read, "sh", made.decode()], capture_output=True, check=True)
        assert done.stdout == value.encode()


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_a_text_is_written_as_it_is_and_never_looks_like_apptainer_s_language(text: str) -> None:
    lines = ["printf '%s\\n' \\", *written(text)]
    lines[-1] = lines[-1].removesuffix(" \\")
    shell = "\n".join((*PREAMBLE, *lines))
    assert "{{" not in shell
    assert not [line for line in lines[1:] if line.strip().startswith("%") or line.lower().startswith("bootstrap:")]
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=True)
    assert done.stdout == (text.removesuffix("\n") + "\n").encode()


NAMES = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/\0"), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES.filter(lambda name: name not in (".", "..")), TEXTS)
def test_a_run_s_variables_and_texts_arrive_as_docker_s_would(tmp_path: Path, name: str, value: str) -> None:
    """Run a stage's own %post here, its folders put below a folder of the test."""
    if "\n" in value or "\r" in value or not value.isprintable():
        value = "plain"
    text = f'FROM base\nENV A={quoted(value, "A")}\nWORKDIR /image\nRUN printf %s "$A" > variable; pwd > here\n'
    text += f"RUN <<'END'\nprintf %s {word(name)} > name\nfalse\ntrue\nEND\n"
    text += f"COPY <<'END' {quoted('/image/' + name, 'name')}\n{value}\nEND\n"
    body = stages(plan_of(text))[-1].section("post")
    image = tmp_path / "image"
    body = (
        body.split('    rm -rf "$private"\n')[0]
        .replace("/.hpcdeploy", str(tmp_path / "private"))
        .replace("/image", str(image))
    )
    subprocess.run(["sh", "-ex", "-c", body], check=True, capture_output=True)
    assert (image / "variable").read_text() == value
    assert (image / "here").read_text() == f"{image}\n"
    assert (image / "name").read_bytes() == name.encode()
    assert (image / name).read_text() == f"{value}\n"
    subprocess.run(["rm", "-rf", image], check=True)


@pytest.mark.parametrize(("value", "emptied"), [("$x", True), ("`x`", True), ('{"a": "b\\"}', False), ("plain", False)])
def test_apptainers_own_copy_of_the_base_s_variables_runs_nothing(value: str, emptied: bool) -> None:
    plan = plan_of("FROM base\n", base=OciConfig(env=(("ODD", value),)))
    post = stages(plan)[-1].section("post")
    assert (": > /.singularity.d/env/10-docker2singularity.sh" in post) == emptied
    assert "export ODD=" in post
