"""Activation put down as plain exports by a build: what a container evaluates as it starts, and what the build tells."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcdeploy.definition.grammar import read_definition, substitute
from hpcdeploy.definition.pixi import Activation, render_pixi
from hpcdeploy.environments.pixi_activation import evaluate, surroundings
from tests.definition.samples import MINIMAL

NOTE = "hpcdeploy: note: "
BASE = f"/usr/local/bin:{os.defpath}"


@dataclass(frozen=True)
class Made:
    """What a build made of an activation: the exports, and what it said."""

    exports: Path
    said: str

    def start(self, shell: str = "bash", **outside: str) -> dict[str, str]:
        """Return the variables of a container in which `outside` is set before."""
        command = [shell, "-c", '. "$1"; env -0', shell, str(self.exports)]
        done = subprocess.run(command, env={"PATH": BASE, **outside}, capture_output=True, text=True, check=True)
        return dict(one.split("=", 1) for one in done.stdout.split("\0") if one)


def pixi_line(name: str, value: str) -> str:
    """Write an export as Pixi does (see hpcdeploy/environments/pixi_activation.py)."""
    quoted = '"' + value.replace('"', '\\"') + '"' if "$" in value else shlex.quote(value)
    return f"export {name}={quoted}\n"


def make(folder: Path, script: str = "", variables: Mapping[str, str] | None = None) -> Made:
    """Do what the build stage does with an activation of Pixi's lines, `script`, and ``[activation.env]``."""
    given = variables or {}
    found = evaluate(given)
    activation = Activation(started=found.started, outside=found.outside, surroundings=surroundings([script], given))
    recipe = replace(MINIMAL, activation=activation)
    post = read_definition(substitute(render_pixi(recipe), {}))[0].section("post")
    begin = post.index("    env -i HOME=")
    code = post[begin : post.index('    rm -rf "$private"', begin)]
    private = folder / "private"
    (private / "home").mkdir(parents=True)
    (folder / "script.sh").write_text(script)
    lines = [
        pixi_line("PATH", "/app/.pixi/envs/default/bin:$PATH"),
        pixi_line("CONDA_PREFIX", "/app/.pixi/envs/default"),
        pixi_line("PIXI_PROJECT_ROOT", "/app"),
        pixi_line("PIXI_EXE", "/usr/local/bin/pixi"),
        f". {folder}/script.sh\n",
        *(pixi_line(name, value) for name, value in given.items()),
    ]
    (private / "hook").write_text("".join(lines))
    head = f'set -euo pipefail\ncd {folder}\nprivate={private}\nexport HOME="$private/home" LEAK=build SCRATCH=/build\n'
    environment = {"PATH": BASE, "USER": "builder"}
    done = subprocess.run(["/bin/bash", "-c", head + code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Made(folder / "activate.sh", "\n".join(line for line in done.stderr.splitlines() if line.startswith(NOTE)))


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_value_that_names_a_variable_is_evaluated_when_the_container_starts(tmp_path: Path, shell: str) -> None:
    made = make(tmp_path, variables={"CACHE": "$SCRATCH/cache", "DATA": "$CACHE/${NAME:-none}", "FIXED": "$CONDA_PREFIX/x"})
    odd = '/scratch/a "b" `id` $HOME'
    found = made.start(shell, SCRATCH=odd, NAME="n")
    assert (found["CACHE"], found["DATA"]) == (f"{odd}/cache", f"{odd}/cache/n")
    assert found["FIXED"] == "/app/.pixi/envs/default/x"
    unset = made.start(shell)
    assert (unset["CACHE"], unset["DATA"]) == ("/cache", "/cache/none")
    assert made.said == ""


def test_a_value_is_evaluated_while_apptainer_keeps_the_host_s_variables_back(tmp_path: Path) -> None:
    """Apptainer's interpreter unsets them, and keeps them in a variable of its own (its action_script.sh)."""
    made = make(tmp_path, variables={"CACHE": "$SCRATCH/cache", "DATA": "$NAME/$EMPTY/$SET"})
    kept = "OTHER=x=y\nSCRATCH=/s * $HOME `id`\\u000Asecond\nSET=host\nNAME=a=b"
    found = made.start(__exported_env__=kept, SET="image")
    assert (found["CACHE"], found["DATA"]) == ("/s * $HOME `id`\nsecond/cache", "a=b//image")
    assert "OTHER" not in found


def test_a_value_that_holds_quotes_and_commands_stays_text(tmp_path: Path) -> None:
    made = make(tmp_path, variables={"ODD": "a \"b\" 'c' \\$(id) \\`id\\` $X\nsecond"})
    assert made.start(X="`id`")["ODD"] == "a \"b\" 'c' $(id) `id` `id`\nsecond"


def test_a_list_goes_on_with_what_scripts_and_the_container_put_in_it(tmp_path: Path) -> None:
    made = make(
        tmp_path,
        "export LD_LIBRARY_PATH=/from/script\n",
        {
            "PATH": "$SCRATCH/bin:$PATH",
            "LD_LIBRARY_PATH": "$CONDA_PREFIX/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}",
            "PYTHONPATH": "$PIXI_PROJECT_ROOT/src:$PYTHONPATH",
        },
    )
    found = made.start(SCRATCH="/s", PYTHONPATH="/theirs")
    assert found["PATH"] == f"/s/bin:/app/.pixi/envs/default/bin:{BASE}"
    assert found["LD_LIBRARY_PATH"] == "/app/.pixi/envs/default/lib:/from/script"
    assert found["PYTHONPATH"] == "/app/src:/theirs"
    assert made.said == ""


def test_a_script_that_looks_at_the_machine_is_told_by_the_variables_that_it_sets(tmp_path: Path) -> None:
    script = """
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-$(nproc)}
export CORES=$(nproc) HOST=$(hostname) HERE=$PWD GPU=$(command -v nvidia-smi || true)
export MINE="${SITE_ROOT:-/opt}/x" SAME="$CONDA_PREFIX/y" HOME_SET="$HOME/z" LEAKED="${LEAK:-no}"
export LIST="/a:${LIST:-}"
"""
    made = make(tmp_path, script)
    assert made.said.startswith(
        f"{NOTE}activation sets CORES GPU HERE HOST LEAKED MINE OMP_NUM_THREADS depending on where it runs"
    )
    found = made.start(HOME="/home/me")
    assert (found["SAME"], found["HOME_SET"], found["LEAKED"]) == ("/app/.pixi/envs/default/y", "/home/me/z", "no")
    assert found["LIST"] == "/a:"


def test_a_value_of_the_manifest_is_told_where_a_script_s_own_goes_into_it(tmp_path: Path) -> None:
    made = make(tmp_path, "export WHERE=${SLURM_JOB_ID:-none}\n", {"X": "$WHERE/$SCRATCH"})
    assert "activation sets WHERE depending" in made.said
    assert made.start(SCRATCH="s")["X"] == "none/s"


def test_an_activation_that_looks_at_nothing_is_told_by_no_word(tmp_path: Path) -> None:
    made = make(tmp_path, 'export A=1 B="$CONDA_PREFIX/share"\nunset SLURM_JOB_ID\nalias x=y\nf() { :; }\n', {"C": "plain"})
    assert made.said == ""
    assert {name: made.start()[name] for name in "ABC"} == {"A": "1", "B": "/app/.pixi/envs/default/share", "C": "plain"}


def test_an_activation_that_fails_elsewhere_is_told(tmp_path: Path) -> None:
    made = make(tmp_path, 'export A=1; [ -z "${SLURM_JOB_ID:-}" ] || exit 1\n')
    assert made.said.startswith(f"{NOTE}activation failed when it was repeated")
    assert made.start()["A"] == "1"
