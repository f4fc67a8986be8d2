"""Values of ``[activation.env]``: which are evaluated when a container starts, and that shells then get Pixi's result."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.environments.pixi import read_manifest
from hpcdeploy.environments.pixi_activation import Started, evaluate, surroundings

OUTSIDE = {"SCRATCH": '/scratch/a "b" $c', "EMPTY": "", "CONDA_PREFIX": "/app/env", "PATH": "/usr/bin:/bin"}


def text_of(value: str) -> str | None:
    """Return what a container evaluates for the variable X, None where the build's value stays."""
    found = evaluate({"X": value}).started
    return found[0].text if found else None


def shown(shell: str, text: str) -> str:
    """Print what `text` is between double quotes."""
    command = [shell, "-c", f'X="{text}"\nprintf "%s." "$X"']
    return subprocess.run(command, env=OUTSIDE, capture_output=True, text=True, check=True).stdout.removesuffix(".")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("$SCRATCH/cache", "${SCRATCH}/cache"),
        ("${SCRATCH}cache", "${SCRATCH}cache"),
        ("${SCRATCH:-/tmp}/cache", "${SCRATCH:-/tmp}/cache"),
        ("${A:-${B-x y}}", "${A:-${B-x y}}"),
        ("/a${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}", "/a${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}"),
        ("$CONDA_PREFIX/$USER", "${CONDA_PREFIX}/${USER}"),
        ('a "b" \\x $X', 'a \\"b\\" \\\\x ${X}'),
        ("\\$not $yes $ 5$", "\\$not ${yes} \\$ 5\\$"),
        ("first\nsecond $X", "first\nsecond ${X}"),
    ],
)
def test_a_value_that_names_a_variable_of_the_outside_is_evaluated_at_the_start(value: str, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    "value", ["", "plain", "`hostname`", "a\\b", "$CONDA_PREFIX/x", "$PIXI_PROJECT_ROOT:$PATH", "5$", "$PIXI_EXE"]
)
def test_a_value_of_pixi_s_own_or_none_stays_the_build_s_without_a_word(value: str) -> None:
    assert evaluate({"X": value}) == evaluate({})


@pytest.mark.parametrize(
    "value",
    [
        *("$(nproc)", "${X:-$(nproc)}", "`id` $X", "$((1 + X))", "$[1]", "${#X}", "${X%/*}", "${X:=y}", "${X:?no}", "${!X}"),
        *(
            "$1",
            "$@",
            "$$",
            "$?",
            "${1}",
            "$_ $X",
            "$RANDOM",
            "$PIXI_EXE $X",
            '\\" $X',
            "${X",
            "${X:-",
            '${X:-"y"}',
            "${X:-\\}}",
        ),
    ],
)
def test_a_value_that_needs_a_whole_shell_is_told(value: str) -> None:
    assert evaluate({"X": value, "Y": "$SCRATCH"}).kept == ("X",)


def test_the_order_is_the_manifest_s_and_a_value_that_goes_on_is_marked() -> None:
    found = evaluate({"B": "$A", "A": "$SCRATCH", "PYTHONPATH": "$PIXI_PROJECT_ROOT/src:$PYTHONPATH", "C": "c"})
    assert found.started == (
        Started(name="B", text="${A}"),
        Started(name="A", text="${SCRATCH}"),
        Started(name="PYTHONPATH", text="${PIXI_PROJECT_ROOT}/src:${PYTHONPATH}", extends=True),
    )
    assert found.outside == ("A", "PYTHONPATH", "SCRATCH")


PIECES = st.sampled_from(
    [
        *(
            "$SCRATCH",
            "${SCRATCH}",
            "$UNSET",
            "${EMPTY:-d e}",
            "${UNSET-f}",
            "${SCRATCH:+g}",
            "$CONDA_PREFIX",
            "a",
            "'",
            '"',
        ),
        *("\\", "$", "`", "{", "}", "\n", " ", "%", "!", "#", "é", "\\$", "~", "*", "${UNSET:-$SCRATCH}", "${UNSET:-#%é}"),
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join))
@settings(max_examples=150, deadline=None)
def test_every_shell_gets_what_bash_gets_of_pixi_s_own_line(value: str) -> None:
    text = text_of(value)
    if text is not None:
        pixi = shown("bash", value.replace('"', '\\"'))
        assert shown("bash", text) == pixi
        assert shown("dash", text) == pixi


def test_the_manifest_s_strongest_feature_wins_at_the_place_of_the_weakest() -> None:
    manifest = """
[workspace]
platforms = ["linux-64"]
[activation.env]
A = "default"
B = "$A"
NUMBER = 5
[target.linux-64.activation.env]
B = "of linux"
[feature.gpu.activation]
env = { C = "gpu", A = "gpu" }
[environments]
gpu = ["gpu"]
"""
    workspace = read_manifest(manifest)
    [platform] = workspace.platforms
    assert list(workspace.environment("gpu").on(platform).variables.items()) == [
        ("A", "gpu"),
        ("B", "of linux"),
        ("NUMBER", "5"),
        ("C", "gpu"),
    ]
    assert workspace.environment("default").variables["A"] == "default"


def test_what_scripts_name_is_varied_but_for_what_means_something_to_a_shell() -> None:
    scripts = [
        'export A=${MINE:-$(nproc)} B="${#OTHER}"',
        '. "$CONDA_PREFIX/x"; echo $HOME $1 $PATH ${BASH_SOURCE[0]} $LD_PRELOAD',
    ]
    found = set(surroundings(scripts, {"X": "$THIRD"}))
    assert {"MINE", "OTHER", "THIRD", "SLURM_CPUS_PER_TASK", "SCRATCH"} <= found
    assert not found & {"HOME", "PATH", "CONDA_PREFIX", "BASH_SOURCE", "LD_PRELOAD"}
