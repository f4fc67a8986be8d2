"""What is true of definition files, held against every definition that hpcdeploy writes, and against its reader.

The facts of the language itself are in test_grammar.py, and against the real Apptainer in tests/builds; those here are
about what a generator must write so that none of them bites.
"""

import re
from pathlib import Path

import pytest

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.grammar import SECTION_LIMIT, TEMPLATE, Stage, read_definition, split_stages
from hpcdeploy.errors import DefinitionError

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.def"))
PIXI = [file for file in GOLDEN if "io.github.hpcdeploy.environment {{" in file.read_text(encoding="utf-8")]
HEAD = "Bootstrap: docker\nFrom: debian:trixie\n"
SCRIPTS = ("runscript", "startscript", "test")


@pytest.fixture(params=GOLDEN, ids=lambda file: file.stem)
def text(request: pytest.FixtureRequest) -> str:
    file: Path = request.param
    return file.read_text(encoding="utf-8")


@pytest.fixture(params=PIXI, ids=lambda file: file.stem)
def of_pixi(request: pytest.FixtureRequest) -> tuple[Stage, ...]:
    file: Path = request.param
    return read_definition(file.read_text(encoding="utf-8"))


@pytest.fixture
def stages(text: str) -> tuple[Stage, ...]:
    return read_definition(text)


def test_there_are_definitions_to_look_at() -> None:
    assert len(GOLDEN) > 12
    assert len(PIXI) > 4


def test_apptainer_would_read_it(text: str) -> None:
    assert check_definition(text)


def test_stage_stands_after_bootstrap_so_that_no_bogus_stage_comes_about(text: str) -> None:
    for part in split_stages(text)[1:]:
        assert part.startswith("Bootstrap:")
    assert "Stage:" not in split_stages(text)[0]


def test_nothing_but_blank_lines_stands_between_a_section_and_the_next_stage(text: str) -> None:
    for part in split_stages(text)[1:-1]:
        assert not part.rstrip().splitlines()[-1].startswith("#")


def test_sections_stay_far_below_the_reader_s_buffer(stages: tuple[Stage, ...]) -> None:
    assert all(len(section.body.encode()) < SECTION_LIMIT / 2 for stage in stages for section in stage.sections)


def test_section_lines_hold_no_tab(text: str) -> None:
    assert not [line for line in text.splitlines() if line.startswith("%") and "\t" in line]


def test_every_stage_says_the_arguments_that_it_uses(text: str) -> None:
    for part in split_stages(text)[1:]:
        [stage] = read_definition(part)
        assert set(TEMPLATE.findall(part)) <= set(stage.arguments)


def test_no_template_stands_behind_a_number_sign(text: str) -> None:
    assert not [line for line in text.splitlines() if "#" in line.partition("{{")[0] and TEMPLATE.search(line)]


def test_arguments_are_not_nested_and_not_quoted(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for value in stage.arguments.values():
            assert not TEMPLATE.search(value)
            assert not value.startswith(('"', "'"))


def test_post_stops_at_the_first_command_that_fails(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for section in stage.sections:
            if section.name == "post":
                lines = [line.strip() for line in section.body.splitlines() if line.strip()]
                assert re.match(r"set (\+x )?-\w*e", lines[0]), lines[0]


def test_post_without_c_is_plain_sh_and_names_no_interpreter(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        assert not stage.section("post").lstrip().startswith("#!")


def test_scripts_name_their_interpreter_in_the_very_first_line_and_take_no_words(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for section in stage.sections:
            if section.name in SCRIPTS:
                assert section.body.startswith("#!/bin/")
                assert section.words == ""


def test_a_failing_line_in_the_middle_of_the_test_fails_it(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        if body := stage.section("test"):
            assert re.match(r"#!/bin/\w+( -\w*e)?\nset -\w*e|#!/bin/\w+ -\w*e", body), body[:60]


def test_the_environment_needs_no_bash(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        body = stage.section("environment")
        assert not re.search(r"^\s*(source|trap|function|alias|declare|\[\[)\b", body, re.MULTILINE)


def test_the_library_path_is_left_alone(stages: tuple[Stage, ...]) -> None:
    assert not [stage for stage in stages if "LD_LIBRARY_PATH=" in stage.section("environment") + stage.section("post")]


def test_nothing_is_left_under_folders_that_the_host_lends(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for copies in stage.files:
            for _, destination in copies.pairs:
                assert not re.match(r"/(tmp|var/tmp|proc|sys|dev)(/|$)", destination)


def test_caches_have_a_folder_that_is_removed(of_pixi: tuple[Stage, ...]) -> None:
    post = of_pixi[0].section("post")
    assert "XDG_CACHE_HOME" in post
    assert 'rm -rf "$private"' in post


def test_variables_go_to_the_file_that_both_programs_name(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for name in ("ENVIRONMENT", "LABELS"):
            uses = re.findall(rf"\$\{{?APPTAINER_{name}[^\n\"]*", stage.section("post"))
            assert all(f"${{APPTAINER_{name}:-$SINGULARITY_{name}}}" in use for use in uses)


def test_labels_have_a_space_after_their_name(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for line in filter(None, map(str.strip, stage.section("labels").splitlines())):
            assert re.match(r"[^\s\"]+ \S", line)


def test_files_are_named_one_by_one_and_relative_to_the_build_s_folder(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        for copies in stage.files:
            if not copies.words:
                assert all(re.match(r"\w", source) and source != "." for source, _ in copies.pairs)


def test_files_come_from_an_earlier_stage_by_its_name(stages: tuple[Stage, ...]) -> None:
    earlier: list[str] = []
    for stage in stages:
        for copies in stage.files:
            assert not copies.words or copies.words.removeprefix("from ") in earlier
        earlier.append(stage.header.get("stage", ""))


@pytest.mark.parametrize("name", ["Build", "0", "later", "final"])
def test_a_copy_from_no_earlier_stage_is_refused(name: str) -> None:
    text = (
        f"{HEAD}Stage: build\n%post\ntrue\n{HEAD}Stage: final\n%files from {name}\n/a /a\n{HEAD}Stage: later\n%post\ntrue\n"
    )
    with pytest.raises(DefinitionError, match="names no earlier stage"):
        check_definition(text)


def test_an_environment_keeps_its_path_from_stage_to_stage(text: str) -> None:
    for source, destination in re.findall(r"^ +(/\S+/envs/\S+.*?) (/\S+/envs/\S+.*)$", text, re.MULTILINE):
        assert source == destination


def test_what_pixi_run_needs_is_in_the_final_stage(of_pixi: tuple[Stage, ...]) -> None:
    copied = {pair[1] for copies in of_pixi[-1].files if copies.words == "from build" for pair in copies.pairs}
    if "/" in copied:  # the whole workspace, itself an editable package
        return
    assert {"/app/entrypoint.sh", "/app/pixi.lock", "/app/.pixi/.gitignore", "/app/.pixi/.condapackageignore"} <= copied
    assert copied & {"/app/pixi.toml", "/app/pyproject.toml"}


def test_modes_that_a_build_without_privileges_may_have_lost_are_opened(of_pixi: tuple[Stage, ...]) -> None:
    assert all("chmod -R a+rX" in stage.section("post") for stage in of_pixi)


def test_cuda_is_claimed_wherever_pixi_may_ask_for_it(of_pixi: tuple[Stage, ...]) -> None:
    claim = 'export CONDA_OVERRIDE_CUDA="{{ CUDA_VERSION }}"'
    places = (of_pixi[0].section("post"), of_pixi[-1].section("post"), of_pixi[-1].section("environment"))
    assert {claim in place for place in places} == {"CUDA_VERSION" in of_pixi[0].arguments}


def test_no_driver_library_is_baked_in(text: str) -> None:
    assert "libcuda.so" not in text


def test_headers_of_apptainer_1_5_are_known() -> None:
    text = "Bootstrap: buildkit\nFrom: .\nTarget: x\nFrontend: y\nFilename: z\nBuildArgs: A=1\n%post\ntrue\n"
    assert len(read_definition(text)[0].header) == 6


def test_what_stands_between_the_last_section_and_the_next_stage_belongs_to_that_section() -> None:
    first, _ = read_definition(f"{HEAD}%post\ntrue\n\n# about the next stage\n{HEAD}%post\ntrue\n")
    assert "# about the next stage" in first.section("post")


def test_stage_before_bootstrap_is_refused() -> None:
    with pytest.raises(DefinitionError, match="must come first"):
        check_definition(f"Stage: build\n{HEAD}%post\ntrue\n")
