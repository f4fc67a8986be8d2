"""Definitions from recipes: the golden files, what every one of them keeps, and what their shells say."""

import subprocess
from pathlib import Path

import pytest

from hpcdeploy import __version__
from hpcdeploy.definition.grammar import SECTION_LIMIT, TEMPLATE, Stage, read_definition, substitute
from hpcdeploy.definition.pixi import PixiRecipe, render_activation, render_pixi
from tests.definition.samples import AWKWARD, AWKWARD_WORDS, GPU, MINIMAL, RECIPES, SLIM
from tests.definition.sections import SHELLS, check_with_shellcheck
from tests.golden import check_golden
from tests.shellcheck import findings

GOLDEN = Path(__file__).parent / "golden"

every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def stages(recipe: PixiRecipe) -> tuple[Stage, ...]:
    return read_definition(substitute(render_pixi(recipe), {}))


@every_recipe
def test_the_definition_is_the_golden_one(recipe: PixiRecipe) -> None:
    golden = GOLDEN / f"{recipe.settings.name}.def"
    text = render_pixi(recipe).replace(__version__, "VERSION")
    check_golden(golden, text)


@every_recipe
def test_two_stages_are_named_and_the_final_one_takes_from_the_first(recipe: PixiRecipe) -> None:
    build, final = stages(recipe)
    assert (build.header["stage"], final.header["stage"]) == ("build", "final")
    assert "from build" in {copies.words for copies in final.files}


@every_recipe
def test_every_stage_gives_the_arguments_that_it_uses(recipe: PixiRecipe) -> None:
    for part in render_pixi(recipe).split("\nBootstrap:"):
        used = set(TEMPLATE.findall(part.partition("%files")[2]))
        declared = {line.strip().partition("=")[0] for line in part.partition("%arguments")[2].split("\n\n")[0].splitlines()}
        assert used <= declared


@every_recipe
def test_no_template_is_left_behind_a_number_sign(recipe: PixiRecipe) -> None:
    for line in render_pixi(recipe).splitlines():
        for match in TEMPLATE.finditer(line):
            assert "#" not in line[: match.start()], line


@every_recipe
def test_post_runs_in_bash_that_stops_at_the_first_failure(recipe: PixiRecipe) -> None:
    for stage in stages(recipe):
        section = next(section for section in stage.sections if section.name == "post")
        assert section.words == "-c /bin/bash"
        assert section.body.splitlines()[0].strip() == "set -euo pipefail"


@every_recipe
def test_scripts_have_their_interpreter_in_the_very_first_line(recipe: PixiRecipe) -> None:
    final = stages(recipe)[-1]
    for name in ("runscript", "startscript", "test"):
        assert final.section(name).splitlines()[0] == "#!/bin/bash"
    assert final.section("test").splitlines()[1] == "set -eo pipefail"


@every_recipe
def test_nothing_is_put_where_the_host_s_folders_are_mounted(recipe: PixiRecipe) -> None:
    for stage in stages(recipe):
        for copies in stage.files:
            for _, destination in copies.pairs:
                assert not destination.startswith(("/tmp", "/var/tmp", "/root", "/home"))
        assert "/tmp/" not in stage.section("post")


@every_recipe
def test_the_final_stage_calls_no_pixi(recipe: PixiRecipe) -> None:
    final = stages(recipe)[-1]
    for name in SHELLS:
        assert not [line for line in final.section(name).splitlines() if line.strip().startswith("pixi ")]


@every_recipe
def test_every_section_is_far_from_the_limit(recipe: PixiRecipe) -> None:
    for stage in stages(recipe):
        assert all(len(section.body.encode()) < SECTION_LIMIT // 4 for section in stage.sections)


@every_recipe
def test_shellcheck_finds_nothing_in_any_section(recipe: PixiRecipe) -> None:
    assert check_with_shellcheck(stages(recipe)) == 6


def test_cuda_is_claimed_at_install_time_and_in_the_image_only_where_it_is_asked_for() -> None:
    build, final = stages(GPU)
    assert 'export CONDA_OVERRIDE_CUDA="12.9"' in build.section("post")
    assert 'export CONDA_OVERRIDE_CUDA="12.9"' in final.section("environment")
    assert "CUDA" not in render_pixi(MINIMAL)


def test_the_final_base_may_be_another_one() -> None:
    build, final = stages(SLIM)
    assert (build.header["from"], final.header["from"]) == ("ghcr.io/prefix-dev/pixi:0.60.0", "ubuntu:24.04")


def test_a_folder_is_copied_into_its_parent_so_that_it_never_lands_inside_itself() -> None:
    final = stages(GPU)[-1]
    own = next(copies.pairs for copies in final.files if not copies.words)
    assert own == (("files/0/src", "/app/"), ("files/1/d.csv", "/opt/my data/"))


def test_the_command_reaches_the_program_exactly_as_it_was_written(tmp_path: Path) -> None:
    script = tmp_path / "runscript"
    script.write_text(stages(AWKWARD_WORDS)[-1].section("runscript"))
    bare = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
    assert bare.stdout == "".join(f"<{text}>\n" for text in AWKWARD)
    given = subprocess.run(["bash", script, "printf", "<%s>", *AWKWARD], capture_output=True, text=True, check=True)
    assert given.stdout == "".join(f"<{text}>" for text in AWKWARD)


def test_the_image_s_variables_hold_exactly_what_was_written(tmp_path: Path) -> None:
    lines = [line for line in stages(AWKWARD_WORDS)[-1].section("post").splitlines() if "export VALUE_" in line]
    variables = tmp_path / "variables"
    variables.write_bytes(subprocess.run(["bash", "-eu", "-c", "\n".join(lines)], capture_output=True, check=True).stdout)
    for shell in ("bash", "sh"):
        for number, text in enumerate(AWKWARD):
            command = [shell, "-c", f'. "$1"; printf %s "$VALUE_{number}"', shell, variables]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == text


def test_a_template_of_the_project_wins(tmp_path: Path) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/pixi.def").write_text("Bootstrap: docker\nFrom: [= final.source =]\nStage: final\n%post\ntrue\n")
    assert render_pixi(SLIM, overrides=tmp_path).splitlines()[1] == "From: ubuntu:24.04"


@every_recipe
def test_the_activation_without_a_container_is_that_of_the_definition(recipe: PixiRecipe) -> None:
    script = render_activation(recipe)
    build = stages(recipe)[0].section("post")
    begins = script.index("    # Write the changes of the activation as plain exports.")
    assert script[begins:].rstrip("\n") in build
    assert findings(f"#!/bin/bash\n{script}", "--exclude=SC1090,SC1091,SC2016,SC2154") == ""
