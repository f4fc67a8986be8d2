"""Translated Dockerfiles as definitions: golden files, and what their shells do with awkward texts."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpcdeploy import __version__
from hpcdeploy.definition.docker_text import quoted
from hpcdeploy.definition.dockerfile.context import Context, Entry
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.definition.dockerfile.rendering import render_dockerfile
from hpcdeploy.definition.dockerfile.stages import Plan, PlannedStage, Start
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.definition.dockerfile.words import PREAMBLE, word, written
from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DockerfileSource, OciConfig
from tests.definition.dockerfile.samples import SAMPLES, plan_of
from tests.definition.samples import AWKWARD
from tests.golden import check_golden
from tests.shellcheck import findings

GOLDEN = Path(__file__).parent.parent / "golden"
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
    check_golden(golden, text)


@pytest.mark.parametrize("name", SAMPLES)
def test_shellcheck_finds_nothing_in_any_section(name: str) -> None:
    # SC1003, SC2016: shell text for another shell. SC2034: an argument that no RUN reads. SC2317, SC2329, SC2119, SC2120:
    # functions that not every Dockerfile needs. SC2043: a path that is put aside without being a pattern.
    without = "--exclude=SC1003,SC2016,SC2034,SC2043,SC2317,SC2329,SC2119,SC2120"
    sections = [section for stage in stages(plan_of(SAMPLES[name])) for section in stage.sections]
    for section in sections:
        if section.name in ("post", "runscript", "startscript", "test"):
            script = section.body if section.body.startswith("#!") else f"#!/bin/sh\n{section.body}"
            assert findings(script, without) == "", section.name


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
    with pytest.raises(DefinitionError, match="longer than Apptainer's limit"):
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
@given(NAMES.filter(lambda name: name not in (".", "..", "name", "here", "variable")), TEXTS)
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


def run_here(text: str, folder: Path) -> None:
    """Run a stage's own %post here; ``/image`` and its private folder are put below `folder`."""
    body = stages(plan_of(text))[-1].section("post").split('    rm -rf "$private"\n')[0]
    body = body.replace("/.hpcdeploy", str(folder / "private")).replace("/image", str(folder / "image"))
    done = subprocess.run(["sh", "-e", "-c", body], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def listing(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode & 0o7777, path.read_text() if path.is_file() else "")
        for path in folder.rglob("*")
    }


def test_a_run_finds_its_mounts_empty_and_afterwards_all_is_as_before(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for name in ("cache/inner/deep", "cache/.hidden", "cache/..odd", "cache/two words", "empty/.keep"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_text(name)
    (image / "cache/broken").symlink_to("nowhere")
    (image / "cache").chmod(0o1777)
    (image / "link").symlink_to("cache")
    (image / "said").write_text("")
    before = {name: found for name, found in listing(image).items() if name != "said"}
    mounts = "--mount=type=cache,target=/image/cache/inner/x --mount=type=cache,target=/image/cache,mode=0700"
    mounts += " --mount=type=tmpfs,target=/image/new/sub --mount=type=cache,target=/image/empty/new"
    see = "stat -c %a cache; ls -A cache new/sub empty/new cache/inner/x"
    fill = "touch cache/a cache/.b cache/inner/x/c new/sub/d; mkdir -p empty/new/e/f"
    text = f"FROM base\nWORKDIR /image\nRUN {mounts} ({see}) >> said; {fill}\n"
    text += "RUN --mount=type=cache,target=new/sub --mount=type=cache,target=link ls -A new/sub cache >> said\n"
    run_here(text + "RUN --mount=type=cache,target=gone rmdir gone\n", tmp_path)
    assert (image / "said").read_text() == (
        "700\ncache:\ninner\n\ncache/inner/x:\n\nempty/new:\n\nnew/sub:\ncache:\n\nnew/sub:\n"
    )
    assert {name: found for name, found in listing(image).items() if name != "said"} == before
    assert not list((tmp_path / "private").glob("kept*"))


def test_a_run_with_a_mount_that_fails_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="line 2: RUN false"):
        run_here(
            "FROM base\nRUN --mount=type=cache,target=/image/x false\nRUN --mount=type=cache,target=/image/y true", tmp_path
        )


def test_a_run_finds_copies_of_its_binds_and_afterwards_all_is_as_before(tmp_path: Path) -> None:
    image, put = tmp_path / "image", tmp_path / "private/put"
    for file in (
        image / "pixi.toml",
        image / "app/old",
        put / "0/000/app/run",
        put / "0/000/app/own",
        put / "1/000/pixi.lock",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    (put / "2/000").mkdir(parents=True)
    (put / "2/000/pixi.toml").write_text("new")
    (image / "said").write_text("")
    before = {name: found for name, found in listing(image).items() if name != "said"}
    mounts = "--mount=source=app,target=app --mount=source=pixi.lock,target=made/here/lock"
    mounts += " --mount=source=pixi.toml,target=pixi.toml"
    see = "ls -A app made/here; cat pixi.toml made/here/lock; touch app/new made/here/other; rm pixi.toml"
    run_here(f"FROM base\nWORKDIR /image\nRUN {mounts} ({see}) >> said; rm made/here/other\n", tmp_path)
    # What the context's own listing says of modes and empty folders is put in place too.
    assert (image / "said").read_text() == "app:\nempty\nlink\nown\nrun\n\nmade/here:\nlock\nnewpixi.lock"
    assert {name: found for name, found in listing(image).items() if name != "said"} == before
    assert not list((tmp_path / "private").glob("kept*"))
    assert not list(put.iterdir())


@pytest.mark.parametrize(("value", "emptied"), [("$x", True), ("`x`", True), ('{"a": "b\\"}', False), ("plain", False)])
def test_apptainers_own_copy_of_the_base_s_variables_runs_nothing(value: str, emptied: bool) -> None:
    plan = plan_of("FROM base\n", base=OciConfig(env=(("ODD", value),)))
    post = stages(plan)[-1].section("post")
    assert (": > /.singularity.d/env/10-docker2singularity.sh" in post) == emptied
    assert "export ODD=" in post
