"""Dockerfiles and ignore files written from settings: golden, and read back by the reader of Dockerfiles."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import __version__
from hpcdeploy.definition.docker_text import DockerText, ignore_pattern
from hpcdeploy.definition.dockerfile.context import Context, Entry, read_ignore
from hpcdeploy.definition.dockerfile.parsing import listed, pairs, parse_dockerfile
from hpcdeploy.definition.dockerfile.stages import Plan, read_stages
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.definition.dockerfile.words import Lexer
from hpcdeploy.definition.pixi import OwnPackage, PixiRecipe
from hpcdeploy.definition.pixi_dockerfile import render_pixi_dockerfile
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import FileCopy, ImageSettings, Secret, Step
from hpcdeploy.source import OciConfig, PixiSource
from tests.definition.samples import AWKWARD, GPU, MINIMAL, RICH, SLIM
from tests.golden import check_golden

GOLDEN = Path(__file__).parent / "golden"
LINES = tuple(text for text in AWKWARD if "\n" not in text)
WHOLE = replace(
    GPU,
    settings=replace(
        GPU.settings,
        name="whole",
        base="ghcr.io/prefix-dev/pixi:noble",
        final_base="docker://ubuntu:24.04",
        files=(
            FileCopy(source="app", destination="/app/src"),
            FileCopy(source="it's [1] $x.csv", destination="/opt/my data/d.csv"),
        ),
        setup=(
            Step(run="python --version"),
            Step(run="echo '{{ ENVIRONMENT }}' \"$TOKEN\" \\\n    second # line", secrets=("TOKEN", "KEY")),
        ),
        command=("uvicorn", "my:app", *AWKWARD),
        environment=tuple((f"VALUE_{number}", text) for number, text in enumerate(LINES)),
        labels=(("org.example.a", "b 'c\""), ("odd:key", "$x")),
        ports=(8000, 8080),
        bind_points=("/scratch", "/host-libs"),
        secrets=(Secret(name="TOKEN", env="TOKEN"), Secret(name="KEY", file="~/.key")),
        build_args=(("COLOUR", 'dark "blue" $x \\'),),
    ),
    secrets=("TOKEN",),
    own=(OwnPackage(name="mine", place="lib/mine", editable=True), OwnPackage(name="other", place="other")),
)
RECIPES = {
    "minimal": replace(MINIMAL, settings=replace(MINIMAL.settings, base="ghcr.io/prefix-dev/pixi:noble")),
    "slim": SLIM if not SLIM.settings.setup else replace(SLIM, settings=replace(SLIM.settings, setup=())),
    "whole": WHOLE,
    "rich": RICH,
}


def written(name: str, workspace: str = ".") -> DockerText:
    return render_pixi_dockerfile(RECIPES[name], workspace=workspace, left_out=("__pycache__", ".git", ".pixi"))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", ["dockerfile", "dockerignore"])
def test_the_text_is_the_golden_one(name: str, kind: str) -> None:
    golden = GOLDEN / f"pixi-{name}.{kind}"
    text = (written(name).dockerfile if kind == "dockerfile" else written(name).ignore).replace(__version__, "VERSION")
    check_golden(golden, text)


def read_back(name: str) -> Plan:
    """Read what was written; a mount, which no definition has, is left out."""
    lines = [line for line in written(name).dockerfile.splitlines() if "--mount" not in line]
    places = ["pixi.toml", "pyproject.toml", "pixi.lock", "scripts/activate.sh", "app/x", "it's [1] $x.csv", "lib/mine/m.py"]
    entries = {place: Entry(kind="file") for place in [*places, "other/o.py", "it's 1 $x.csv"]}
    entries |= {folder: Entry(kind="folder", mode=0o755) for folder in ("scripts", "app", "lib", "lib/mine", "other")}
    return translate(
        parse_dockerfile("\n".join(lines)),
        context=Context(entries=entries),
        image_config=lambda reference: OciConfig(),
        build_args={},
    )


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_written_is_read_back(name: str) -> None:
    plan, settings = read_back(name), RECIPES[name].settings
    assert [stage.base for stage in plan.stages] == [
        settings.base.removeprefix("docker://"),
        (settings.final_base or settings.base).removeprefix("docker://"),
    ]
    last = plan.stages[-1]
    assert last.start.entrypoint == ("/app/entrypoint.sh",)
    assert last.start.command == (settings.command or ("/bin/bash",))
    assert dict(settings.environment).items() <= dict(last.environment).items()
    assert dict(settings.labels).items() <= dict(last.labels).items()
    assert dict(settings.build_args).items() <= dict(plan.stages[0].arguments).items()


def test_copies_name_the_file_that_was_meant_and_no_other() -> None:
    last = read_back("whole").stages[-1]
    assert [file.source for file in last.files] == ["app/x", "it's [1] $x.csv"]
    assert "put '' '/opt/my data/d.csv'" in "\n".join(line for piece in last.shell for line in piece)


def test_a_secret_is_given_to_the_steps_that_ask_and_to_no_other() -> None:
    runs = [one for one in parse_dockerfile(written("whole").dockerfile).instructions if one.name == "RUN"]
    asking = {one.rest: [value for name, value in one.flags if name == "mount"] for one in runs if one.flags}
    install, step = asking.values()
    assert install == ["type=secret,id=TOKEN,target=/run/secrets/TOKEN,required=true"]
    assert step == [*install, "type=secret,id=KEY,target=/run/secrets/KEY,required=true"]


def test_a_step_reaches_bash_as_it_was_written_and_its_arguments_are_filled() -> None:
    runs = [one for one in parse_dockerfile(written("whole").dockerfile).instructions if one.name == "RUN"]
    assert runs[-2].rest == "/app/entrypoint.sh python --version"
    assert runs[-1].words == (
        *("/app/entrypoint.sh", "/bin/bash", "-eo", "pipefail", "-c"),
        'TOKEN="$(cat /run/secrets/TOKEN)"\nexport TOKEN\necho \'gpu\' "$TOKEN" \\\n    second # line',
    )
    assert any("are already replaced" in note for note in written("whole").notes)


@pytest.mark.parametrize("name", RECIPES)
def test_the_ignore_file_lets_exactly_through_what_is_copied(name: str) -> None:
    ignore = read_ignore(written(name).ignore)
    dockerfile = parse_dockerfile(written(name).dockerfile)
    lexer = Lexer(escape="\\")
    copied = [
        lexer.word(word).replace("[[]", "[").replace("[]]", "]")
        for one in dockerfile.instructions
        if one.name == "COPY" and not any(flag == "from" for flag, _ in one.flags)
        for word in listed(one)[:-1]
    ]
    assert copied
    assert not [place for place in copied if ignore.ignores(place)]
    for place in (
        "Dockerfile",
        ".git/config",
        "hpcdeploy.toml",
        "data/big",
        "app/__pycache__/x",
        "app/.git/y",
        ".pixi/envs/z",
    ):
        assert ignore.ignores(place)


@pytest.mark.parametrize("path", ["a b", "it's", "[1]", "a*b", "#x", "!x"])
def test_a_path_in_the_ignore_file_means_itself_alone(path: str) -> None:
    ignore = read_ignore(f"*\n!{ignore_pattern(path)}\n")
    assert not ignore.ignores(path)
    assert ignore.ignores("1")
    assert ignore.ignores("aXb")


def test_a_workspace_may_lie_in_a_folder_of_the_project() -> None:
    text = written("minimal", "work/space")
    assert "COPY work/space/pixi.toml /app/pixi.toml\n" in text.dockerfile
    assert "!work/space/pixi.lock\n" in text.ignore


def test_an_editable_workspace_comes_along_whole() -> None:
    recipe = replace(RECIPES["minimal"], own=(OwnPackage(name="me", place=".", editable=True),))
    text = render_pixi_dockerfile(recipe)
    assert "COPY . /app\n" in text.dockerfile
    assert "COPY --from=build /app /app\n" in text.dockerfile
    assert not read_ignore(text.ignore).ignores("src/me.py")


def broken(**changes: object) -> PixiRecipe:
    settings = ImageSettings(name="x", source=PixiSource(), base="b")
    return replace(MINIMAL, settings=replace(settings, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (broken(environment=(("A", "b\nc"),)), "A is 'b\\nc', but a value in a Dockerfile must be one line"),
        (broken(base="oras://x/y"), "'base' is 'oras://x/y', but a Dockerfile can only start from an image"),
        (broken(files=(FileCopy(source="a\\b", destination="/a"),)), "'a\\\\b' contains a backslash"),
        (broken(setup=(Step(run="x", secrets=("NO",)),)), "a step of 'setup' uses the secret 'NO'"),
        (
            broken(setup=(Step(run="echo A=b >> $APPTAINER_LABELS"),)),
            "a step of 'setup' uses APPTAINER_LABELS, which is set",
        ),
    ],
)
def test_what_a_dockerfile_cannot_say_is_refused(recipe: PixiRecipe, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        render_pixi_dockerfile(recipe)
    assert str(raised.value).startswith(said)


def test_a_step_for_both_formats_can_tell_apptainer_s_builds_by_its_variable() -> None:
    recipe = broken(setup=(Step(run='[ -z "${APPTAINER_ENVIRONMENT:-}" ] || echo export A=b'),))
    assert "APPTAINER_ENVIRONMENT:-" in render_pixi_dockerfile(recipe).dockerfile


def test_the_entry_point_script_runs_what_follows_it(tmp_path: Path) -> None:
    stages = read_stages(parse_dockerfile(written("whole").dockerfile), {}, "").stages
    line = next(one.rest for one in stages[0].instructions if "shell-hook" in one.rest)
    pixi = tmp_path / "pixi"
    pixi.write_text('#!/bin/sh\n[ "$3" = "odd name" ] && echo \'export ACTIVE="yes"\'\n')
    pixi.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ENVIRONMENT": "odd name"}
    subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True)
    words = ["bash", "entrypoint.sh", "sh", "-c", 'echo "$ACTIVE $1"', "sh", "a b"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=True).stdout == b"yes a b\n"


def test_labels_with_odd_names_are_quoted() -> None:
    [label] = [one for one in parse_dockerfile(written("whole").dockerfile).instructions if "odd:key" in one.rest]
    assert pairs(label, "\\") == (('"odd:key"', '"\\$x"'),)
